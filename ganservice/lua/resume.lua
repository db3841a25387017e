-- Has a paused queue give out jobs again.
return reply({was_paused = redis.call('DEL', root .. 'pause') == 1}, true)
