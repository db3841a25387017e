-- Forgets where jobs are found whose keys have gone with their time. Of `ids`, those that are there stay.
local forgotten = 0
for _, id in ipairs(args.ids) do
  clear(id)
  if redis.call('EXISTS', job_key(id)) == 0 then
    redis.call('ZREM', state_key(args.state), id)
    forget_places(id)
    forgotten = forgotten + 1
  end
end
return reply({forgotten = forgotten})
