//! The remote tier: snapshots as zstd objects in S3, GCS, a directory or memory.
