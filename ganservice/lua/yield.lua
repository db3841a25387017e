-- Asks the attempt that holds the token to give its job back; it is told with its next heartbeat.
if not holds(args.id, args.token) then return reply({lost = true}) end
redis.call('HSET', job_key(args.id), 'yield_requested', args.token)
return reply({})
