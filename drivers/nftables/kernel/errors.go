package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Sentinels that callers ask for with errors.Is.
var (
	// ErrPrivilege is wrapped where the kernel refuses for want of privilege.
	ErrPrivilege = errors.New("needs CAP_NET_ADMIN in the namespace's user namespace (run as root, or in `unshare -rn`)")
	// ErrUnsupported is wrapped where the kernel has no nf_tables, conntrack netlink
	// or netfilter log netlink.
	ErrUnsupported = errors.New("the kernel does not have it")
	// ErrGenerationMoved is wrapped by Commit where somebody changed the ruleset
	// since the generation that the caller read (ERESTART). Nothing was done.
	ErrGenerationMoved = errors.New("the ruleset's generation moved; nothing was changed: read again and retry")
	// ErrOwned is wrapped where a process holds the table with the owner flag (EPERM).
	ErrOwned = errors.New("the table belongs to another process (flags owner); nothing was changed")
	// ErrTooLarge is wrapped where a batch is larger than the socket may send.
	ErrTooLarge = errors.New("the batch is too large for one transaction; nothing was changed")
	// ErrUncertain is wrapped by Commit where the kernel's answer was lost and the
	// generation does not tell either. Only reading the table tells.
	ErrUncertain = errors.New("it is not known whether the batch was committed: read the table")
	// ErrUnstable is wrapped by Read where the ruleset changed under every try.
	ErrUnstable = errors.New("the ruleset kept changing while it was being read")
	// ErrNotFound is wrapped where the named table, chain, set or element is absent.
	ErrNotFound = errors.New("no such object")
)

// openError explains why a NETLINK_NETFILTER socket could not be opened.
func openError(err error) error {
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("open netfilter netlink socket: %w: %w: build or load nfnetlink", ErrUnsupported, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("open netfilter netlink socket: %w: %w", ErrPrivilege, err)
	}
	return fmt.Errorf("open netfilter netlink socket: %w", err)
}

// explain says what was attempted, and turns the errnos that have one meaning
// into their sentinel. subsystem is the kernel module behind the request.
func explain(what, subsystem string, err error) error {
	switch errnoOf(err) {
	case unix.EPERM:
		return fmt.Errorf("%s: %w: %w", what, ErrPrivilege, err)
	case unix.ENOENT:
		return fmt.Errorf("%s: %w: %w", what, ErrNotFound, err)
	case unix.EOPNOTSUPP, unix.EPROTONOSUPPORT:
		return fmt.Errorf("%s: %w: %w (is %s built or loaded?)", what, ErrUnsupported, err, subsystem)
	}
	return fmt.Errorf("%s: %w", what, err)
}
