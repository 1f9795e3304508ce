package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Entry is one line of the audit log. Seq, Previous and Hash are the store's.
type Entry struct {
	Seq      uint64    `json:"seq"`
	Previous string    `json:"previous"`
	When     time.Time `json:"when"`
	Who      string    `json:"who"`
	From     string    `json:"from"` // where the request came from: a command, an address
	Action   string    `json:"action"`
	Object   string    `json:"object"`
	Reason   string    `json:"reason"`
	Result   string    `json:"result"`
	Hash     string    `json:"hash"`
}

// An entry is stored as the bytes that its hash is over, then the hash: there is
// no second encoding of the same entry that a change could hide in.
const entryMagic = "bulkhead-audit-1\n"

func encodeEntry(e Entry, prev sum) ([]byte, sum) {
	b := binary.BigEndian.AppendUint64([]byte(entryMagic), e.Seq)
	b = append(b, prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.When.UnixNano()))
	for _, f := range []string{e.Who, e.From, e.Action, e.Object, e.Reason, e.Result} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	s := sha256.Sum256(b)
	return append(b, s[:]...), s
}

var errEntry = errors.New("an audit entry that cannot be read")

func decodeEntry(b []byte) (e Entry, s sum, err error) {
	const fixed = len(entryMagic) + 8 + sha256.Size + 8
	if len(b) < fixed+sha256.Size || string(b[:len(entryMagic)]) != entryMagic {
		return e, s, errEntry
	}
	body := b[:len(b)-sha256.Size]
	if s = sha256.Sum256(body); string(s[:]) != string(b[len(body):]) {
		return e, s, errors.New("an audit entry does not have the hash that it says")
	}
	p := body[len(entryMagic):]
	e.Seq, p = binary.BigEndian.Uint64(p), p[8:]
	e.Previous, p = hex.EncodeToString(p[:sha256.Size]), p[sha256.Size:]
	e.When, p = time.Unix(0, int64(binary.BigEndian.Uint64(p))).UTC(), p[8:]
	for _, f := range []*string{&e.Who, &e.From, &e.Action, &e.Object, &e.Reason, &e.Result} {
		if len(p) < 4 || uint64(binary.BigEndian.Uint32(p)) > uint64(len(p)-4) {
			return e, s, errEntry
		}
		n := int(binary.BigEndian.Uint32(p))
		*f, p = string(p[4:4+n]), p[4+n:]
	}
	if len(p) != 0 {
		return e, s, errEntry
	}
	e.Hash = hex.EncodeToString(s[:])
	return e, s, nil
}

func auditKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }

func (t *tx) audit(e Entry) error {
	if e.Who == "" || e.Action == "" {
		return fmt.Errorf("an audit entry names who and what: %q did %q", e.Who, e.Action)
	}
	if e.When.IsZero() {
		e.When = t.s.o.Now()
	}
	e.Seq = t.auditSeq + 1
	b, s := encodeEntry(e, t.auditSum)
	t.put(bucketAudit, auditKey(e.Seq), b)
	t.auditSeq, t.auditSum = e.Seq, s
	return nil
}

// AppendAudit adds an entry to the audit log, and returns it as it was stored.
func (s *Store) AppendAudit(e Entry) (stored Entry, err error) { return s.appendAudit(e, false) }

// AppendDone is AppendAudit of what was done already. It may use the reserve: what is done on
// a full disk, in a hurry, is to be told all the same.
func (s *Store) AppendDone(e Entry) (stored Entry, err error) { return s.appendAudit(e, true) }

func (s *Store) appendAudit(e Entry, urgent bool) (stored Entry, err error) {
	err = s.update(urgent, func(t *tx) error {
		if err := t.audit(e); err != nil {
			return err
		}
		stored, _, err = decodeEntry(t.ops[len(t.ops)-1].value)
		return err
	})
	return stored, err
}

// Audit gives the entries from one sequence number on, at most limit of them
// (0: all), oldest first.
func (s *Store) Audit(from uint64, limit int) ([]Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Entry
	for seq := max(from, 1); seq <= s.m.auditSeq && (limit <= 0 || len(out) < limit); seq++ {
		b, err := s.get(bucketAudit, auditKey(seq))
		if err != nil {
			return out, fmt.Errorf("audit entry %d: %w", seq, err)
		}
		e, _, err := decodeEntry(b)
		if err != nil {
			return out, fmt.Errorf("audit entry %d: %w", seq, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// AuditReport is what Verify found. BadSeq is the first entry that is wrong, 0 if
// none is.
type AuditReport struct {
	Entries uint64 `json:"entries"`
	Hash    string `json:"hash"` // of the last entry: what to keep elsewhere, for --expect
	BadSeq  uint64 `json:"badSeq,omitempty"`
	Why     string `json:"why,omitempty"`
}

// OK tells whether nothing was found.
func (r AuditReport) OK() bool { return r.Why == "" }

// Verify walks the chain of the audit log. With expect, a hash that an earlier
// Verify gave and that was kept elsewhere, it must be one of the chain's: a log
// that was written anew, or that ends before it, is found.
func (s *Store) Verify(expect string) AuditReport {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return verifyChain(s.m, func(seq uint64) ([]byte, error) { return s.get(bucketAudit, auditKey(seq)) }, expect)
}

func verifyChain(m *image, get func(uint64) ([]byte, error), expect string) AuditReport {
	var prev sum
	r := AuditReport{Hash: hex.EncodeToString(prev[:])}
	met := expect == ""
	for seq := uint64(1); seq <= m.auditSeq; seq++ {
		b, err := get(seq)
		var e Entry
		if err == nil {
			var s sum
			if e, s, err = decodeEntry(b); err == nil && (e.Seq != seq || e.Previous != hex.EncodeToString(prev[:])) {
				err = errors.New("it does not follow the entry before it")
			}
			prev = s
		}
		if err != nil {
			r.BadSeq, r.Why = seq, fmt.Sprintf("entry %d: %v", seq, err)
			return r
		}
		r.Entries, r.Hash, met = seq, e.Hash, met || e.Hash == expect
	}
	if n := len(m.keys(bucketAudit)); uint64(n) != m.auditSeq {
		r.BadSeq, r.Why = m.auditSeq, fmt.Sprintf("%d entries are numbered to %d", n, m.auditSeq)
	} else if !met {
		r.BadSeq, r.Why = m.auditSeq+1, fmt.Sprintf("no entry has the hash %q: the log ends before it, or was written anew", expect)
	}
	return r
}
