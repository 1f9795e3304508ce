package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"bulkhead/inventory"
	"bulkhead/inventory/neighbor"
	"bulkhead/pkg/config"
	"bulkhead/pkg/store"
)

// sourceTypes are the types of sources that there are.
func sourceTypes() []string { return []string{config.SourceEC2, config.SourceNeighbor} }

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
	heard := hear(ctx, set.Sources, opt.Ears)
	if opt.Ears != nil {
		opt.Ears.opened()
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err // an interrupted read is no fault of the source
	}
	list, err = inventory.Stand(heard, known, set.Limits.AssetsLostPercent, opt.AcceptLost, now)
	return list, at, err
}

// hear asks the sources, side by side: one that is slow keeps no other waiting. A source
// that is read in parts is heard in parts; what takes its time is left to the ears, if
// there are any.
func hear(ctx context.Context, sources []config.Source, ears *Ears) (out []inventory.Heard) {
	each := make([][]inventory.Heard, len(sources))
	var wg sync.WaitGroup
	for i := range sources {
		wg.Go(func() {
			if ears != nil && sources[i].Type == config.SourceEC2 {
				each[i] = ears.hear(ctx, &sources[i])
				return
			}
			each[i] = hearOne(ctx, &sources[i])
		})
	}
	wg.Wait()
	return slices.Concat(each...)
}

func hearOne(ctx context.Context, src *config.Source) []inventory.Heard {
	switch src.Type {
	case config.SourceNeighbor:
		snap, err := neighbor.Read(ctx, src.Settings["netns"].Text)
		if err != nil {
			return []inventory.Heard{heard(src, inventory.Report{}, err)}
		}
		return []inventory.Heard{heard(src, snap.Report(src.Name, src.Trust, time.Time{}), nil)}
	case config.SourceEC2:
		return hearEC2(ctx, src)
	}
	return []inventory.Heard{heard(src, inventory.Report{}, fmt.Errorf("type %q is not known", src.Type))}
}

// heard is what was heard of a source as a whole.
func heard(src *config.Source, r inventory.Report, err error) inventory.Heard {
	return inventory.Heard{Source: src.Name, Trust: src.Trust, StaleAfter: src.StaleAfter, Where: src.Pos.String(), Report: r, Err: err}
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
		if x.State == inventory.SourceAccepted && !accepted || x.State == inventory.SourceMissing {
			continue // of a missing one there is nothing to remember
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
