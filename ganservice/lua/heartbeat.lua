-- Renews the lease and writes what the attempt has to say. Answers with a directive.
if not holds(args.id, args.token) then return reply({lost = true}) end
local key = job_key(args.id)
account(args.id)
redis.call('ZADD', state_key('running'), now + args.lease_ms, args.id)
redis.call('HSET', key, 'heartbeat_at', now, 'lease_expires_at', now + args.lease_ms)
local attempt = redis.call('HGET', key, 'attempt')
if args.progress then redis.call('HSET', key, 'progress', args.progress) end
if args.pulse then redis.call('HSET', key, 'pulse', args.pulse) end
if args.precision then redis.call('HSET', key, 'precision', args.precision) end
-- Of an attempt that tells the same number twice, nothing counts twice.
local new_images = (args.trained_images or 0) - (number(redis.call('HGET', key, 'attempt_images')) or 0)
if new_images > 0 and number(new_images) then
  redis.call('HSET', key, 'attempt_images', args.trained_images)
  add(key, 'images_trained', new_images)
  total('images', new_images)
end
if args.missed_beats > 0 then total('missed_beats', args.missed_beats) end
if args.resumed_images then
  observe('start', number(redis.call('HGET', key, 'leased_at')) or now)
  -- What the attempt really started from; a newer checkpoint that could not be read is forgotten.
  redis.call('HSET', key, 'resumed_images', args.resumed_images)
  local newest = redis.call('HGET', key, 'checkpoint')
  if (number(decoded(newest).images) or 0) > args.resumed_images then redis.call('HDEL', key, 'checkpoint') end
end
if args.checkpoint then redis.call('HSET', key, 'checkpoint', args.checkpoint) end
for place, new in ipairs(args.events) do
  -- A kind is a name, and becomes that of a counter.
  if place > bounds.events_of_a_beat or #new.kind > 40 or not string.match(new.kind, '^[a-z_]+$') then break end
  event(args.id, new.kind, attempt, new.detail)
  total('event:' .. new.kind)
  if new.kind == 'checkpoint' then
    local checkpoint = decoded(new.detail)
    redis.call('HSET', key, 'checkpoint_at', now)
    total('checkpoint_bytes', number(checkpoint.bytes) or 0)
    total('checkpoint_ms', math.floor((number(checkpoint.seconds) or 0) * 1000))
  end
end
for place, line in ipairs(args.logs) do
  if place > bounds.logs_of_a_beat then break end
  append(logs_key(args.id), bounds.logs, bounds.logs_bytes, 'text', cut(line, bounds.text_bytes), 'attempt', attempt)
end
local stop = redis.call('HGET', key, 'cancel_requested') == '1'
local yield = number(redis.call('HGET', key, 'yield_requested')) == args.token
local counted = #args.events > 0 or #args.logs > 0 or args.missed_beats > 0 or args.resumed_images
return reply({directive = stop and 'stop' or yield and 'yield' or 'continue'}, counted)
