-- Writes down the wish that a sweep end with all its jobs, which the leading dispatcher fulfils, whatever another hand has
-- made of it.
clear_sweep(args.id)
local key = sweep_key(args.id)
if redis.call('EXISTS', key) == 0 then return reply({missing = true}) end
if not is_live_sweep(args.id) then return reply({state = redis.call('HGET', key, 'state')}, true) end
redis.call('HSET', key, 'state', 'running', 'cancel_requested', 1)
redis.call('SADD', root .. 'live_sweeps', args.id)
if args.by then redis.call('HSETNX', key, 'cancel_requested_by', args.by) end
return reply({state = 'running'}, true)
