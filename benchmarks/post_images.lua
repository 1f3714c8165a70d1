-- wrk script: each request posts the next image of the list in IMAGE_LIST as a raw body.

local requests = {}
local next_request = 0

function init(args)
  wrk.headers["Content-Type"] = "image/jpeg" -- beside those of the command line
  for path in io.lines(os.getenv("IMAGE_LIST")) do
    local file = assert(io.open(path, "rb"))
    local body = file:read("*a")
    file:close()
    requests[#requests + 1] = wrk.format("POST", nil, nil, body)
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, all)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50_s": %f, "p90_s": %f, "p99_s": %f, ' ..
    '"max_s": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(90) / 1e6, latency:percentile(99) / 1e6,
    latency.max / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
