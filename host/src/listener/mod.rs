//! Accept loops, connection limits, and the task that ties one stream to its session and the router.
