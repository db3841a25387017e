-- Gives jobs that an earlier release submitted the places in which they are found.
for _, id in ipairs(args.ids) do
  clear(id)
  local order = number(redis.call('HGET', job_key(id), 'order'))
  if order then index(id, order) end
end
return reply({})
