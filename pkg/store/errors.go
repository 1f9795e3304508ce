package store

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrNotFound: no such record, or no record with such a prefix.
	ErrNotFound = errors.New("not found")
	// ErrFull: the disk, the quota or the file size limit is exhausted. Nothing of
	// the write is in the store; what was confirmed before is.
	ErrFull = errors.New("no space for the state")
	// ErrFailed: an earlier write ended in an unknown state (a failed sync), and
	// the store takes no more writes until it is opened again.
	ErrFailed = errors.New("the state takes no more writes")
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly = errors.New("the state is open for reading only")
	// ErrNewer: the existing state is newer than what would replace it.
	ErrNewer = errors.New("the existing state is newer")
)

// LockedError says who writes to the state of the site.
type LockedError struct {
	Site   string
	Holder Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the state of site %q is in use by %s; ask that one, or stop it first", e.Site, e.Holder)
}

// LostError says that something which was confirmed is not in the file: the disk
// lost writes, the file was cut, removed or replaced by an older one.
type LostError struct {
	Path string
	Why  string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: confirmed state is missing: %s; restore a backup, or open it with the loss accepted, which the audit log then says", e.Path, e.Why)
}

// CorruptError says where a file differs from what was written.
type CorruptError struct {
	Path   string
	Offset int64
	Why    string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: damaged at byte %d: %s; restore a backup", e.Path, e.Offset, e.Why)
}

// VersionError says that a newer program wrote the state.
type VersionError struct {
	Path      string
	Have, Can int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: schema version %d, this program knows up to %d; use the newer bulkhead, or restore the backup that it made before migrating", e.Path, e.Have, e.Can)
}

// full turns what the kernel says of a full disk into ErrFull.
func full(err error) error {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w; free some, or move the state directory", ErrFull, err)
		}
	}
	return err
}
