-- Has the queue give out no job to a dispatcher until it is resumed. Of several pauses the last one counts.
redis.call('HSET', root .. 'pause', 'by', args.by, 'at', now, 'reason', args.reason)
return reply({}, true)
