-- Forgets a sweep that is over; its jobs stay.
clear_sweep(args.id)
if is_live_sweep(args.id) then return reply({refused = true}) end
local existed = redis.call('DEL', unpack(keys_of_sweep(args.id))) > 0
redis.call('ZREM', root .. 'sweeps', args.id)
redis.call('SREM', root .. 'live_sweeps', args.id)
return reply({deleted = existed}, true)
