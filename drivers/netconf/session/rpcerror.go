package session

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
)

// RPCError is one rpc-error of a server (RFC 6241 section 4.3).
type RPCError struct {
	Type     string // transport, rpc, protocol, application
	Tag      string // of appendix A: "lock-denied"
	Severity string // "warning"; all else is an error
	AppTag   string
	Path     string
	Message  string
	// Of error-info; empty where the server did not say.
	SessionID    string // lock-denied: who holds it; "0" is no NETCONF session
	BadElement   string
	BadAttribute string
	BadNamespace string
	Info         string // all of error-info, as XML
}

// Warning reports whether the rpc was done all the same. What has no severity that is
// known is an error.
func (e *RPCError) Warning() bool { return e.Severity == "warning" }

// Error says what the server said.
func (e *RPCError) Error() string {
	var b strings.Builder
	b.WriteString(e.Tag)
	if e.AppTag != "" {
		fmt.Fprintf(&b, " (%s)", e.AppTag)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %q", e.Message)
	}
	for _, s := range []struct{ what, is string }{
		{"element", e.BadElement}, {"attribute", e.BadAttribute}, {"namespace", e.BadNamespace}, {"session", e.SessionID}, {"at", e.Path},
	} {
		if s.is != "" {
			fmt.Fprintf(&b, ", %s %q", s.what, s.is)
		}
	}
	return b.String()
}

// RefusedError is an rpc that the server answered with errors, all of which it has.
type RefusedError struct {
	Operation string
	Address   string
	Errors    []*RPCError // at least one; no warnings
}

// Error says what was refused and why.
func (e *RefusedError) Error() string {
	said := make([]string, len(e.Errors))
	for i, x := range e.Errors {
		said[i] = x.Error()
	}
	return fmt.Sprintf("%s: %q refuses: %s", e.Operation, e.Address, strings.Join(said, "; "))
}

// Unwrap returns every error of the reply.
func (e *RefusedError) Unwrap() []error {
	out := make([]error, len(e.Errors))
	for i, x := range e.Errors {
		out[i] = x
	}
	return out
}

// Tags returns the tags of the errors with which a server refused an rpc; none if err is
// something else.
func Tags(err error) []string {
	var e *RefusedError
	if !errors.As(err, &e) {
		return nil
	}
	out := make([]string, len(e.Errors))
	for i, x := range e.Errors {
		out[i] = x.Tag
	}
	return out
}

// HasTag reports whether a server refused an rpc with an error of that tag.
func HasTag(err error, tag string) bool {
	for _, t := range Tags(err) {
		if t == tag {
			return true
		}
	}
	return false
}

// LockHolder returns the id of the session that holds what was asked to be locked: "0"
// is somebody who is no NETCONF session, and "" is not said. ok is false if err is not a
// lock that was denied.
func LockHolder(err error) (id string, ok bool) {
	var e *RefusedError
	if !errors.As(err, &e) {
		return "", false
	}
	for _, x := range e.Errors {
		if x.Tag == "lock-denied" {
			return x.SessionID, true
		}
	}
	return "", false
}

// readErrors returns the rpc-errors of a reply, warnings apart.
func readErrors(m *message) (errs, warnings []*RPCError, err error) {
	for _, c := range m.children {
		// In whatever namespace: an error that is overlooked is a change that is believed.
		if c.start.Name.Local != "rpc-error" {
			continue
		}
		e, err := readError(m.document(c))
		if err != nil {
			return nil, nil, err
		}
		if e.Warning() {
			warnings = append(warnings, e)
		} else {
			errs = append(errs, e)
		}
	}
	return errs, warnings, nil
}

func readError(doc []byte) (*RPCError, error) {
	var x struct {
		Type     string `xml:"error-type"`
		Tag      string `xml:"error-tag"`
		Severity string `xml:"error-severity"`
		AppTag   string `xml:"error-app-tag"`
		Path     string `xml:"error-path"`
		Message  string `xml:"error-message"`
		Info     struct {
			Inner        string `xml:",innerxml"`
			SessionID    string `xml:"session-id"`
			BadElement   string `xml:"bad-element"`
			BadAttribute string `xml:"bad-attribute"`
			BadNamespace string `xml:"bad-namespace"`
		} `xml:"error-info"`
	}
	if err := xml.Unmarshal(doc, &x); err != nil {
		return nil, fmt.Errorf("an rpc-error that cannot be read: %w", err)
	}
	trim := strings.TrimSpace
	return &RPCError{
		Type: trim(x.Type), Tag: trim(x.Tag), Severity: trim(x.Severity), AppTag: trim(x.AppTag), Path: trim(x.Path), Message: trim(x.Message),
		SessionID: trim(x.Info.SessionID), BadElement: trim(x.Info.BadElement), BadAttribute: trim(x.Info.BadAttribute),
		BadNamespace: trim(x.Info.BadNamespace), Info: trim(x.Info.Inner),
	}, nil
}
