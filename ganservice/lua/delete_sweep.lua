-- Forgets a sweep that is over; its jobs stay.
local state = redis.call('HGET', sweep_key(args.id), 'state')
if state == 'running' then return reply({refused = true}) end
redis.call('DEL', sweep_key(args.id), sweep_jobs_key(args.id))
redis.call('ZREM', root .. 'sweeps', args.id)
redis.call('SREM', root .. 'live_sweeps', args.id)
return reply({deleted = state and true or false}, true)
