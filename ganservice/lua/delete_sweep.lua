-- Forgets a sweep that is over; its jobs stay.
local state = redis.call('HGET', sweep_key(args.id), 'state')
if state == 'running' then return reply({refused = true}) end
local existed = redis.call('DEL', unpack(keys_of_sweep(args.id))) > 0
redis.call('ZREM', root .. 'sweeps', args.id)
redis.call('SREM', root .. 'live_sweeps', args.id)
return reply({deleted = existed}, true)
