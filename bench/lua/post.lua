-- A body of 64 KiB.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("b", 64 * 1024)
