-- Gives jobs that an earlier release submitted the places in which they are found. Answers with `refused` where it may not.
for _, id in ipairs(args.ids) do
  clear(id)
  local order = number(redis.call('HGET', job_key(id), 'order'))
  if order then
    forget_places(id)
    if not index(id, order) then return reply({refused = true}) end
  end
end
return reply({})
