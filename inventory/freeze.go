package inventory

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"bulkhead/pkg/diag"
)

// Heard is what one read of a source gave: a report, or why there is none.
type Heard struct {
	Source     string
	Of         string // the configured source that it is a part of; "" if it is the whole
	Trust      Trust
	StaleAfter time.Duration // how long its last good report may stand in for it
	Where      string        // where the source is configured, for errors
	Report     Report        // if Err is nil
	Err        error
	At         time.Time // when it was heard; zero: now
}

// Known is what is remembered of a source from earlier reads.
type Known struct {
	At     time.Time // when Report was read
	Report Report    // the last good one
	Since  time.Time // since when Report stands in for the source; zero: it does not
}

// SourceState says what of a source counts.
type SourceState string

// The states of a source.
const (
	// SourceCurrent is one whose report of now counts.
	SourceCurrent SourceState = "current"
	// SourceFrozen is one that failed or lost too much: its last good report stands in.
	SourceFrozen SourceState = "frozen"
	// SourceStale was frozen for longer than its stale_after: what it lost is gone.
	SourceStale SourceState = "stale"
	// SourceAccepted lost too much, and somebody said that it may.
	SourceAccepted SourceState = "accepted"
	// SourceMissing is a part of a source that failed and never reported before, while
	// other parts did: what it would say is not known, and does not count.
	SourceMissing SourceState = "missing"
)

// Standing is what counts of one source in one run.
type Standing struct {
	Source string      `json:"source"`
	State  SourceState `json:"state"`
	// Why says what is wrong with the source; "" if it is current.
	Why string `json:"why,omitempty"`
	// Since is from when on it has not been current; zero: this run sees it first.
	Since time.Time `json:"since,omitzero"`
	// LastGood is when the last report was read that was not in question.
	LastGood time.Time `json:"lastGood,omitzero"`
	Until    time.Time `json:"until,omitzero"` // of a frozen one: when it will be stale
	Report   Report    `json:"-"`              // what counts

	next Known
}

// Next is what to remember of the source after the run.
func (s *Standing) Next() Known { return s.next }

// Stand decides for each source what of it counts: its report of now, or the last
// good one. A source that fails, reports nothing where it had something, or lost
// more than lostPercent of its entries is frozen until it is well again, until its
// time is up, or until somebody accepts the loss. An operator whose source had a
// bad morning finds groups as they were, and not empty. accept says of which sources the
// loss is accepted; nil is none.
//
// A source of trust evidence gives no group anything, so that it can lose nothing.
// One that fails and of which nothing is known is an error: the inventory is not
// complete, and was not before. A part of one whose other parts are known is missing
// instead: people can look at what there is, and whoever plans has to hold the plan.
func Stand(heard []Heard, known map[string]Known, lostPercent int, accept func(source string) bool, now time.Time) ([]Standing, error) {
	out := make([]Standing, 0, len(heard))
	var errs []error
	there := map[string]bool{} // the sources of which some part is known
	for i := range heard {
		if _, ok := known[heard[i].Source]; ok || heard[i].Err == nil {
			there[heard[i].Of] = true
		}
	}
	for i := range heard {
		h := &heard[i]
		k, ok := known[h.Source]
		if h.Err != nil && !ok && h.Of != "" && there[h.Of] {
			out = append(out, Standing{Source: h.Source, State: SourceMissing, Why: fmt.Sprintf("it failed: %v", h.Err), Report: h.gone()})
			continue
		}
		if h.Err != nil && !ok {
			errs = append(errs, fmt.Errorf("source %q (%s) failed, so the inventory is not complete, and nothing is known of it from before: %w", h.Source, h.Where, h.Err))
			continue
		}
		k.Report.Source, k.Report.Trust = h.name(), h.Trust
		out = append(out, stand(h, &k, ok, lostPercent, accept != nil && accept(h.Source), now))
	}
	return out, errors.Join(errs...)
}

// name is what facts name as their source: a part speaks for the whole.
func (h *Heard) name() string { return cmp.Or(h.Of, h.Source) }

// gone is what a source that failed is taken to report, once its time is up.
func (h *Heard) gone() Report {
	return Report{Source: h.name(), Trust: h.Trust, Assets: []Asset{}}
}

func stand(h *Heard, k *Known, isKnown bool, lostPercent int, accept bool, now time.Time) Standing {
	s := Standing{Source: h.Source, State: SourceCurrent, Report: h.Report, next: Known{At: cmp.Or(h.At, now), Report: h.Report}}
	if isKnown {
		s.Why = trouble(h, &k.Report, lostPercent)
	}
	if s.Why == "" {
		return s
	}
	s.Since, s.LastGood = k.Since, k.At
	since := k.Since
	if since.IsZero() {
		since = now
	}
	switch {
	case accept:
		s.State = SourceAccepted
		if h.Err != nil {
			// Remembered as gone: else the next run would bring back what was given up.
			s.Report = h.gone()
			s.next = Known{At: now, Report: s.Report, Since: since}
		}
	case now.Sub(since) >= h.StaleAfter:
		s.State = SourceStale
		if h.Err != nil {
			s.Report, s.next = h.gone(), Known{At: k.At, Report: k.Report, Since: since}
		}
	default:
		s.State, s.Until = SourceFrozen, since.Add(h.StaleAfter)
		s.Report, s.next = k.Report, Known{At: k.At, Report: k.Report, Since: since}
	}
	return s
}

// trouble says why a report cannot simply take the place of the one before; "" if
// it can.
func trouble(h *Heard, before *Report, lostPercent int) string {
	if h.Err != nil {
		return fmt.Sprintf("it failed: %v", h.Err)
	}
	had := len(before.Assets)
	if had == 0 || h.Trust == TrustEvidence || h.Trust == "" {
		return ""
	}
	if len(h.Report.Assets) == 0 {
		return fmt.Sprintf("it reports nothing, and reported %d entries before", had)
	}
	if n := lost(before, &h.Report); n*100 > lostPercent*had {
		return fmt.Sprintf("it lost %d of %d entries, which is more than %d %% (assets_lost_percent)", n, had, lostPercent)
	}
	return ""
}

// lost counts the entries of before that are not in now, or of which now says no
// address or no label any more: a source that may no longer read tags is as blind
// as one that sees no machine.
func lost(before, now *Report) int {
	type has struct{ addresses, labels bool }
	there := make(map[string]has, len(now.Assets))
	for i := range now.Assets {
		a := &now.Assets[i]
		there[entryKey(a)] = has{len(a.Addresses) > 0, len(a.Labels) > 0}
	}
	n := 0
	for i := range before.Assets {
		a := &before.Assets[i]
		x, ok := there[entryKey(a)]
		if !ok || len(a.Addresses) > 0 && !x.addresses || len(a.Labels) > 0 && !x.labels {
			n++
		}
	}
	return n
}

// entryKey is by what an entry is found again in the next report.
func entryKey(a *Asset) string {
	if a.ID != "" {
		return "id " + a.ID
	}
	var b strings.Builder
	for _, m := range a.MACs {
		b.WriteString(" mac " + m)
	}
	if b.Len() == 0 {
		for _, p := range a.Addresses {
			b.WriteString(" at " + FormatPrefix(p))
		}
	}
	return b.String()
}

// String says in one line, safe for a terminal, what counts of the source.
func (s *Standing) String() string {
	const layout = "2006-01-02 15:04:05 MST"
	since := "from now on"
	if !s.Since.IsZero() {
		since = "since " + s.Since.UTC().Format(layout)
	}
	name, why, good := diag.Safe(fmt.Sprintf("%q", s.Source)), diag.Safe(s.Why), s.LastGood.UTC().Format(layout)
	switch s.State {
	case SourceFrozen:
		return fmt.Sprintf("source %s is frozen %s: %s; what it reported at %s stands in for it until %s", name, since, why, good, s.Until.UTC().Format(layout))
	case SourceStale:
		return fmt.Sprintf("source %s is stale (%s), after being frozen for its stale_after: %s; what it reported at %s no longer stands in for it", name, since, why, good)
	case SourceMissing:
		return fmt.Sprintf("source %s is missing: %s; nothing is known of it from before", name, why)
	case SourceAccepted:
		return fmt.Sprintf("source %s: %s; that is accepted, and counts", name, why)
	}
	return fmt.Sprintf("source %s is current", name)
}

// reportFormat is the version of the form in which reports are kept.
const reportFormat = "1.0"

type keptReport struct {
	FormatVersion string  `json:"formatVersion"`
	Source        string  `json:"source"`
	Assets        []Asset `json:"assets"`

	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// EncodeReport writes a report down to be kept. When facts were seen is left out:
// an unchanged network gives the same bytes, which a store keeps once.
func EncodeReport(r *Report) ([]byte, error) {
	k := keptReport{FormatVersion: reportFormat, Source: r.Source, Assets: make([]Asset, len(r.Assets)), Conflicts: r.Conflicts}
	for i, a := range r.Assets {
		k.Assets[i] = timeless(a)
	}
	return json.Marshal(k)
}

// DecodeReport is the inverse of EncodeReport. Trust is the configuration's to say.
func DecodeReport(b []byte) (Report, error) {
	var k keptReport
	if err := json.Unmarshal(b, &k); err != nil {
		return Report{}, fmt.Errorf("not a kept report: %w", err)
	}
	if k.FormatVersion != reportFormat {
		return Report{}, fmt.Errorf("a kept report of format %q, this program reads %q", k.FormatVersion, reportFormat)
	}
	return Report{Source: k.Source, Assets: k.Assets, Conflicts: k.Conflicts}, nil
}
