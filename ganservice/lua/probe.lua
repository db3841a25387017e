-- Writes what expires, for whoever wants to know whether this server takes writes.
redis.call('SET', root .. 'probe:' .. args.owner, now, 'PX', 10000)
return reply({})
