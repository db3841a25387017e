-- A queued job is cancelled at once; a running one is asked to stop, or, with `now`, loses its lease here.
local key = job_key(args.id)
local job = redis.call('HMGET', key, 'state', 'attempt', 'cancel_requested')
local state = job[1]
if not state then return reply({missing = true}) end
if state == 'queued' or (state == 'running' and args.now) then
  settle(args.id, state, 'cancelled', 'cancelled', nil, args)
  return reply({state = 'cancelled'}, true)
end
if state == 'running' and not job[3] then
  redis.call('HSET', key, 'cancel_requested', 1, 'cancel_requested_by', args.by)
  event(args.id, 'cancel_requested', job[2], cjson.encode({by = args.by}))
end
return reply({state = state}, true)
