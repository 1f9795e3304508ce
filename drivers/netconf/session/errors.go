package session

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart. Errors of this package wrap at most one of the first
// seven; an rpc that the server refused is a *RefusedError.
var (
	// ErrUnreachable says that no session came about because nobody, or nobody who
	// speaks SSH, answers.
	ErrUnreachable = errors.New("the device cannot be reached")
	// ErrAuthentication says that the device does not let the user in.
	ErrAuthentication = errors.New("the device refuses the login")
	// ErrHostKey says that the device's host key is not the one that was enrolled, or
	// that none was; the error is a *HostKeyError.
	ErrHostKey = errors.New("the host key is not trusted")
	// ErrProtocol says that no session came about because what answers is not NETCONF as
	// this package speaks it.
	ErrProtocol = errors.New("not a NETCONF server that can be spoken to")
	// ErrLost says that an rpc was sent and has no reply that can be believed: it may have
	// been done or not. The session is over.
	ErrLost = errors.New("it is not known whether the device did it; read it back")
	// ErrClosed says that the session was over before: nothing was sent.
	ErrClosed = errors.New("the session is over; nothing was sent")
	// ErrInvalid says that a request cannot be sent as it is: nothing was sent, and the
	// session goes on.
	ErrInvalid = errors.New("the request is not sent")
)

// failure is an error with the class that callers ask for.
type failure struct {
	class error
	text  string
	err   error
}

func (f *failure) Error() string { return f.text }

// Unwrap returns the class, and what lies under it: a context's error among them.
func (f *failure) Unwrap() []error {
	if f.err == nil {
		return []error{f.class}
	}
	return []error{f.class, f.err}
}

func fail(class, err error, format string, a ...any) error {
	return &failure{class, fmt.Sprintf(format, a...), err}
}
