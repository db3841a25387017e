-- Writes a job and puts it into the queue, after `held_ms` for those who do not name it, or once the job `after` has
-- succeeded. The same idempotency key gives the job it gave before.
if redis.call('EXISTS', job_key(args.id)) == 1 then return reply({taken = true}) end
if args.after then clear(args.after) end
-- A job of a sweep is submitted once for its place there, and never once that is over.
if args.sweep then
  local existing = redis.call('HGET', sweep_jobs_key(args.sweep.id), args.sweep.place)
  if existing then return reply({id = existing, created = false}) end
  local sweep = redis.call('HMGET', sweep_key(args.sweep.id), 'state', 'cancel_requested')
  if sweep[1] ~= 'running' or sweep[2] then return reply({refused = 'the sweep is over'}) end
end
local existing = submitted_with(args.idempotency_key)
if existing then
  local job = redis.call('HMGET', job_key(existing), 'spec', 'after')
  local same = job[1] == args.spec and (job[2] or nil) == args.after
  return reply({id = existing, created = false, conflict = not same}, true)
end

-- Why a quota keeps the job out, if one does. An evaluation that a training submits must not make that one fail.
local function refusal()
  if not args.user or args.is_part_of_a_job then return end
  local quota = quota_of(args.user)
  for _, what in ipairs({'cpus', 'gpus'}) do
    if quota[what] and args[what] > quota[what] then
      return string.format('%s may hold %d %s at a time, and the job takes %d; ask for fewer, or ask the operator',
        args.user, quota[what], string.upper(string.sub(what, 1, 3)) .. (quota[what] == 1 and '' or 's'), args[what])
    end
  end
  return too_many_queued(args.user)
end

local function cannot_follow()
  local standing = standing_of(args.after)
  if standing ~= 'live' and standing ~= 'done' then return standing end
  return too_many_following(args.after, args.user)
end

local refused = refusal() or (args.after and cannot_follow())
if refused then return reply({refused = refused}) end
if args.idempotency_key then redis.call('SET', root .. 'idempotency:' .. args.idempotency_key, args.id) end
local order = redis.call('INCR', root .. 'order')
redis.call('HSET', job_key(args.id),
  'id', args.id, 'format', args.format, 'spec', args.spec, 'state', 'queued', 'priority', args.priority, 'order', order,
  'cpus', args.cpus, 'gpus', args.gpus, 'submitted_at', now, 'attempt', 0, 'token', 0, 'failures', 0)
if args.user then redis.call('HSET', job_key(args.id), 'user', args.user) end
if args.idempotency_key then redis.call('HSET', job_key(args.id), 'idempotency_key', args.idempotency_key) end
if args.sweep then
  redis.call('HSET', job_key(args.id), 'sweep', args.sweep.id)
  if args.sweep.until_images then redis.call('HSET', job_key(args.id), 'until_images', args.sweep.until_images) end
  redis.call('HSET', sweep_jobs_key(args.sweep.id), args.sweep.place, args.id)
end
if args.evaluates then
  redis.call('HSET', job_key(args.id), 'evaluates', args.evaluates.job_id, 'evaluates_images', args.evaluates.images)
  under_way(args.id, true)
end
index(args.id, order)
if args.after then redis.call('HSET', job_key(args.id), 'after', args.after) end
if args.after and standing_of(args.after) == 'live' then follow(args.id, args.after)
else enqueue(args.id, args.priority, order, now + args.held_ms) end
total('submitted')
event(args.id, 'submitted', 0, args.detail)
return reply({id = args.id, created = true}, true)
