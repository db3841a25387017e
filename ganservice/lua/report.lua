-- Put before the scripts by which an attempt reports: writes what it has to say. Of an attempt that tells the same number
-- of images twice, nothing counts twice.
local function write_report(id, attempt, told)
  local key = job_key(id)
  for _, name in ipairs({'progress', 'pulse', 'precision', 'engine'}) do
    if told[name] then redis.call('HSET', key, name, told[name]) end
  end
  if told.trained_images > 0 then
    local new_images = told.trained_images - (number(redis.call('HGET', key, 'attempt_images')) or 0)
    if new_images > 0 and number(new_images) then
      redis.call('HSET', key, 'attempt_images', told.trained_images)
      add(key, 'images_trained', new_images)
      total('images', new_images)
    end
  end
  if told.missed_beats > 0 then total('missed_beats', told.missed_beats) end
  if told.resumed_images then
    observe('start', number(redis.call('HGET', key, 'leased_at')) or now)
    -- What the attempt really started from; a newer checkpoint that could not be read is forgotten.
    redis.call('HSET', key, 'resumed_images', told.resumed_images)
    local newest = redis.call('HGET', key, 'checkpoint')
    if (number(decoded(newest).images) or 0) > told.resumed_images then redis.call('HDEL', key, 'checkpoint') end
  end
  if told.checkpoint then redis.call('HSET', key, 'checkpoint', told.checkpoint) end
  for place, new in ipairs(told.events) do
    -- A kind is a name, and becomes that of a counter.
    if place > bounds.events_of_a_beat or #new.kind > 40 or not string.match(new.kind, '^[a-z_]+$') then break end
    event(id, new.kind, attempt, new.detail)
    total('event:' .. new.kind)
    if new.kind == 'checkpoint' then
      local checkpoint = decoded(new.detail)
      redis.call('HSET', key, 'checkpoint_at', now)
      total('checkpoint_bytes', number(checkpoint.bytes) or 0)
      total('checkpoint_ms', math.floor((number(checkpoint.seconds) or 0) * 1000))
    end
  end
  for place, line in ipairs(told.logs) do
    if place > bounds.logs_of_a_beat then break end
    append(logs_key(id), bounds.logs, bounds.logs_bytes, 'text', cut(line, bounds.text_bytes), 'attempt', attempt)
  end
end
