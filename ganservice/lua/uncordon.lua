-- Has dispatchers place gangs on a node again.
return reply({was_cordoned = redis.call('HDEL', root .. 'cordons', args.node) == 1}, true)
