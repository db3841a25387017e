-- Gives a job another priority: in the queue it takes its place by that at once, a running one when it comes back there.
local key = job_key(args.id)
local job = redis.call('HMGET', key, 'state', 'order', 'attempt', 'priority')
if not job[1] then return reply({missing = true}) end
if job[1] ~= 'queued' and job[1] ~= 'running' then return reply({state = job[1], refused = true}) end
local before = number(job[4]) or 0
if before ~= args.priority then
  redis.call('HSET', key, 'priority', args.priority)
  local user = user_of(args.id)
  if redis.call('ZSCORE', ready_key(user), args.id) then
    redis.call('ZADD', ready_key(user), place(args.priority, number(job[2]) or 0), args.id)
  end
  event(args.id, 'priority_changed', job[3], cjson.encode({before = before, now = args.priority, by = args.by}))
end
return reply({state = job[1], before = before}, true)
