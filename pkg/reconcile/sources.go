package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"bulkhead/inventory"
	"bulkhead/inventory/neighbor"
	"bulkhead/pkg/config"
	"bulkhead/pkg/store"
)

// sourceNeighbor is the type of the source that reads a host's neighbour table.
const sourceNeighbor = "neighbor"

// collect asks the sources that the site names, and decides what of each counts. at
// is when the last good report of each was read that was known by then.
func collect(ctx context.Context, cfg *config.Site, opt LoadOptions, now time.Time) (list []inventory.Standing, at map[string]time.Time, err error) {
	set := &cfg.Settings
	at = map[string]time.Time{}
	if len(set.Sources) == 0 {
		return nil, at, nil
	}
	var known map[string]inventory.Known
	if opt.Known != nil {
		// Not "nothing is known": a source that lost everything would pass for a new one.
		if known, err = opt.Known(set.Name); err != nil {
			return nil, nil, fmt.Errorf("cannot tell what the sources reported before: %w", err)
		}
	}
	for name, k := range known {
		at[name] = k.At
	}
	heard := make([]inventory.Heard, len(set.Sources))
	for i := range set.Sources {
		src := &set.Sources[i]
		h := inventory.Heard{Source: src.Name, Trust: src.Trust, StaleAfter: src.StaleAfter, Where: src.Pos.String()}
		h.Report, h.Err = read(ctx, src)
		heard[i] = h
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err // an interrupted read is no fault of the source
	}
	list, err = inventory.Stand(heard, known, set.Limits.AssetsLostPercent, opt.AcceptLost, now)
	return list, at, err
}

// read asks one source.
func read(ctx context.Context, src *config.Source) (inventory.Report, error) {
	if src.Type != sourceNeighbor {
		return inventory.Report{}, fmt.Errorf("type %q is not known", src.Type)
	}
	snap, err := neighbor.Read(ctx, src.Settings["netns"].Text)
	if err != nil {
		return inventory.Report{}, err
	}
	return snap.Report(src.Name, src.Trust, time.Time{}), nil
}

// KnownSources gives what a state remembers of the sources of its site; nil is no
// state.
func KnownSources(st *store.Store) (map[string]inventory.Known, error) {
	out := map[string]inventory.Known{}
	if st == nil {
		return out, nil
	}
	list, err := st.Sources()
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Snapshot == "" {
			continue // it never reported
		}
		b, err := st.Blob(s.Snapshot)
		if err != nil {
			return nil, fmt.Errorf("the last good report of source %q: %w", s.Name, err)
		}
		r, err := inventory.DecodeReport(b)
		if err != nil {
			return nil, fmt.Errorf("the last good report of source %q: %w", s.Name, err)
		}
		k := inventory.Known{At: s.LastGood, Report: r}
		if s.Frozen != nil {
			k.Since = *s.Frozen
		}
		out[s.Name] = k
	}
	return out, nil
}

// RememberSources writes down what is to be known of the sources in the next run.
// A loss that somebody accepted is written only if accepted is set: until the plan
// that it makes is agreed to, the source stays as it was known.
//
// What was known when the site was loaded must still be what is known: a state that
// somebody else wrote meanwhile is not overwritten by what was decided without it.
func (s *Site) RememberSources(st *store.Store, accepted bool) error {
	if len(s.Sources) == 0 {
		return nil
	}
	list, err := st.Sources()
	if err != nil {
		return err
	}
	there := map[string]store.Source{}
	for _, rec := range list {
		there[rec.Name] = rec
	}
	for i := range s.Sources {
		x := &s.Sources[i]
		if x.State == inventory.SourceAccepted && !accepted {
			continue
		}
		if old := there[x.Source]; !old.LastGood.Equal(s.known[x.Source]) {
			return fmt.Errorf("another controller has looked at source %q meanwhile: run this again", x.Source)
		}
		next := x.Next()
		b, err := inventory.EncodeReport(&next.Report)
		if err != nil {
			return err
		}
		rec := store.Source{Name: x.Source, LastGood: next.At.UTC(), Error: x.Why}
		if rec.Snapshot, err = st.PutBlob(b); err != nil {
			return fmt.Errorf("cannot remember what source %q reports: %w", x.Source, err)
		}
		if !next.Since.IsZero() {
			since := next.Since.UTC()
			rec.Frozen = &since
		}
		if reflect.DeepEqual(rec, there[x.Source]) {
			continue // a second pass over one look at the sources writes nothing
		}
		if err := st.PutSource(rec); err != nil {
			return fmt.Errorf("cannot remember what source %q reports: %w", x.Source, err)
		}
		s.known[x.Source] = next.At
	}
	return nil
}
