// Package store keeps what must outlive one run: inventory snapshots, plans,
// applies with their write-ahead journal, the last confirmed state of each
// device, what is known of each source, and a hash-chained audit log.
//
// A site's state is one file, SITE.db: a header line, then frames. A frame is one
// transaction: it carries its number, the hash of the frame before it and its own
// hash, so it is there whole or not at all. Frames are only ever appended; Prune
// writes a new file beside and renames it. The index is built in memory when the
// file is opened, which reads and checks every byte.
//
// SITE.head beside it says how far the file was confirmed: it is written and
// synced after each frame and before the caller is told. So three ends of a file
// are told apart: a frame behind the head that is whole (kept: the crash came
// before the head was written), one that is torn (cut off: nobody was told that it
// is there), and a file that ends before the head, or differs there (refused with
// LostError or CorruptError: it was confirmed, and it is gone).
//
// A page store without checksums of its data (bbolt was considered) cannot tell
// the last two apart, and shuts readers out while a writer runs. Here readers take
// no lock: OpenReadOnly gives the state as of its opening, beside a running writer.
//
// SITE.lock is held by the kernel (flock) for the one writer, and says who it is.
// A lock that outlived its process does not exist.
//
// Secrets are never stored: callers hand over native state and reasons as they
// are, and must have removed credentials from them. Nothing here is encrypted.
package store
