//! flow-queue
