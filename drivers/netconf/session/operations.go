package session

import (
	"context"
	"encoding/xml"
	"time"
)

// The datastores (RFC 6241 section 5.1).
const (
	Running   = "running"
	Candidate = "candidate"
	Startup   = "startup"
)

// datastore is written as an element of its name.
type datastore string

func (d datastore) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	name := xml.StartElement{Name: xml.Name{Local: string(d)}}
	if err := e.EncodeElement(struct{}{}, name); err != nil {
		return err
	}
	return e.EncodeToken(start.End())
}

func (s *Session) datastores(op string, names ...string) error {
	for _, n := range names {
		if n != Running && n != Candidate && n != Startup {
			return fail(ErrInvalid, nil, "%s: %q is not a datastore: it is %q, %q or %q", op, n, Running, Candidate, Startup)
		}
	}
	return nil
}

// GetConfig reads a datastore and returns the data element, as a document. filter is
// what a subtree filter holds (RFC 6241 section 6): nil reads all, an empty one nothing.
func (s *Session) GetConfig(ctx context.Context, source string, filter []byte) ([]byte, error) {
	const op = "get-config"
	if err := s.datastores(op, source); err != nil {
		return nil, err
	}
	rpc := struct {
		XMLName xml.Name  `xml:"get-config"`
		Source  datastore `xml:"source"`
		Filter  *subtree  `xml:"filter"`
	}{Source: datastore(source)}
	if filter != nil {
		if err := fragment(filter); err != nil {
			return nil, fail(ErrInvalid, err, "%s: the filter is not well-formed XML: %v", op, err)
		}
		rpc.Filter = &subtree{Type: "subtree", Inner: filter}
	}
	r, err := s.Do(ctx, rpc)
	if err != nil {
		return nil, err
	}
	data, ok := r.Element("data")
	if !ok { // not an empty configuration
		return nil, fail(ErrProtocol, nil, "%s: %q answers without data: %.200q", op, s.address, r.Inner)
	}
	return data, nil
}

// subtree is a filter element.
type subtree struct {
	Type  string `xml:"type,attr"`
	Inner []byte `xml:",innerxml"`
}

// The values of an Edit (RFC 6241 section 7.2). The empty one leaves it to the server.
const (
	TestThenSet = "test-then-set"
	SetOnly     = "set"
	TestOnly    = "test-only"

	StopOnError     = "stop-on-error"
	ContinueOnError = "continue-on-error"
	RollbackOnError = "rollback-on-error"

	Merge   = "merge"
	Replace = "replace"
	None    = "none"
)

// Edit is a change of a datastore. Config is what the config element holds; the prefix
// nc is declared in it, for nc:operation.
type Edit struct {
	Target           string
	DefaultOperation string
	TestOption       string
	ErrorOption      string
	Config           []byte
}

// EditConfig changes a datastore. One server that was measured makes what an edit removes
// from an element that the same edit makes: remove only what was read.
func (s *Session) EditConfig(ctx context.Context, e Edit) error {
	const op = "edit-config"
	if err := s.datastores(op, e.Target); err != nil {
		return err
	}
	if err := fragment(e.Config); err != nil {
		return fail(ErrInvalid, err, "%s: the configuration is not well-formed XML: %v", op, err)
	}
	return s.simple(ctx, struct {
		XMLName          xml.Name  `xml:"edit-config"`
		Target           datastore `xml:"target"`
		DefaultOperation string    `xml:"default-operation,omitempty"`
		TestOption       string    `xml:"test-option,omitempty"`
		ErrorOption      string    `xml:"error-option,omitempty"`
		Config           content   `xml:"config"`
	}{Target: datastore(e.Target), DefaultOperation: e.DefaultOperation, TestOption: e.TestOption, ErrorOption: e.ErrorOption, Config: content{nsBase, e.Config}})
}

// content is a config element.
type content struct {
	NC    string `xml:"xmlns:nc,attr"`
	Inner []byte `xml:",innerxml"`
}

// Lock locks a datastore for this session; see LockHolder for a refusal.
func (s *Session) Lock(ctx context.Context, target string) error {
	if err := s.datastores("lock", target); err != nil {
		return err
	}
	return s.simple(ctx, struct {
		XMLName xml.Name  `xml:"lock"`
		Target  datastore `xml:"target"`
	}{Target: datastore(target)})
}

// Unlock gives a lock back. What is in the candidate and not committed is discarded
// (RFC 6241 section 8.3.5.2).
func (s *Session) Unlock(ctx context.Context, target string) error {
	if err := s.datastores("unlock", target); err != nil {
		return err
	}
	return s.simple(ctx, struct {
		XMLName xml.Name  `xml:"unlock"`
		Target  datastore `xml:"target"`
	}{Target: datastore(target)})
}

// Commit makes the candidate the running configuration.
type Commit struct {
	// Confirmed lets the change go back unless another commit follows within Timeout,
	// which is sent in whole seconds, rounded up; 0 is the server's own, 600 s.
	Confirmed bool
	Timeout   time.Duration
	// Persist lets a confirmed commit outlive the session, and names it.
	Persist string
	// PersistID names the one that this commit confirms or follows.
	PersistID string
}

// Commit commits. A server may answer ok and have done nothing: read back. One that was
// measured looks at the time of a confirmed commit only when it has had nothing to do for a
// second: whoever reads more often keeps the change from going back.
func (s *Session) Commit(ctx context.Context, c Commit) error {
	const op = "commit"
	confirmed, persist := s.caps.ConfirmedCommit()
	switch {
	case !s.caps.Candidate():
		return s.lacks(op, "candidate datastore")
	case c.Confirmed && !confirmed:
		return s.lacks(op, "confirmed commit")
	case (c.Persist != "" || c.PersistID != "") && !persist:
		return s.lacks(op, "confirmed commit that persists (version 1.1)")
	case !c.Confirmed && (c.Persist != "" || c.Timeout != 0):
		return fail(ErrInvalid, nil, "%s: a name or a timeout needs a confirmed commit", op)
	case c.Timeout < 0 || c.Timeout > (1<<32-1)*time.Second:
		return fail(ErrInvalid, nil, "%s: a timeout of %v: it is 1 to 4294967295 seconds", op, c.Timeout)
	}
	rpc := struct {
		XMLName   xml.Name  `xml:"commit"`
		Confirmed *struct{} `xml:"confirmed"`
		Timeout   int64     `xml:"confirm-timeout,omitempty"`
		Persist   string    `xml:"persist,omitempty"`
		PersistID string    `xml:"persist-id,omitempty"`
	}{Timeout: int64((c.Timeout + time.Second - 1) / time.Second), Persist: c.Persist, PersistID: c.PersistID}
	if c.Confirmed {
		rpc.Confirmed = &struct{}{}
	}
	return s.simple(ctx, rpc)
}

// CancelCommit takes a confirmed commit back at once: the one of that name, or this
// session's own for "".
func (s *Session) CancelCommit(ctx context.Context, persistID string) error {
	if _, persist := s.caps.ConfirmedCommit(); !persist {
		return s.lacks("cancel-commit", "cancel-commit (confirmed commit, version 1.1)")
	}
	return s.simple(ctx, struct {
		XMLName   xml.Name `xml:"cancel-commit"`
		PersistID string   `xml:"persist-id,omitempty"`
	}{PersistID: persistID})
}

// Discard makes the candidate what running is. On one server that was measured it answers
// ok and does nothing: only CopyConfig of running to the candidate, and Unlock, do it there.
func (s *Session) Discard(ctx context.Context) error {
	return s.simple(ctx, struct {
		XMLName xml.Name `xml:"discard-changes"`
	}{})
}

// Validate lets the server check a datastore. On one server that was measured the commit
// after it answers ok and does nothing: TestThenSet in the edit does the same without.
func (s *Session) Validate(ctx context.Context, source string) error {
	const op = "validate"
	if err := s.datastores(op, source); err != nil {
		return err
	}
	if !s.caps.Validate() {
		return s.lacks(op, "validate")
	}
	return s.simple(ctx, struct {
		XMLName xml.Name  `xml:"validate"`
		Source  datastore `xml:"source"`
	}{Source: datastore(source)})
}

// CopyConfig replaces a datastore by another: startup by running saves what runs.
func (s *Session) CopyConfig(ctx context.Context, target, source string) error {
	if err := s.datastores("copy-config", target, source); err != nil {
		return err
	}
	return s.simple(ctx, struct {
		XMLName xml.Name  `xml:"copy-config"`
		Target  datastore `xml:"target"`
		Source  datastore `xml:"source"`
	}{Target: datastore(target), Source: datastore(source)})
}
