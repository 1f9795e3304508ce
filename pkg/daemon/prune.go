package daemon

import (
	"context"
	"net/http"
	"time"

	"bulkhead/pkg/config"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/store"
)

// When the history is pruned: once everything is in force after a start, and daily. The
// index of the state is in memory, so that a daemon which never forgot would grow.
const (
	firstPrune = 2 * time.Minute
	pruneEvery = 24 * time.Hour
)

// prune forgets what the settings do not keep. It is for the goroutine that writes: no
// apply is about to begin meanwhile. A failure is logged, and nothing else fails by it.
func (d *Daemon) prune() { _, _ = d.pruneTo(d.site.Config.Settings.History) }

func (d *Daemon) pruneTo(h config.History) (store.Pruned, error) {
	began := d.o.Now()
	done, err := d.c.Prune(h)
	if err != nil {
		d.o.Log.Error("the history is not pruned", "error", err)
	} else if done.Before != done.After {
		d.o.Log.Info("the history was pruned", "applies", done.Applies, "bytes_before", done.Before, "bytes", done.After, "took", d.o.Now().Sub(began).Round(time.Millisecond))
	}
	return done, err
}

// PruneCall has the history pruned; what is not said is what the site says.
type PruneCall struct {
	KeepLast   int    `json:"keepLast,omitempty"`   // confirmed applies, at least
	KeepWithin string `json:"keepWithin,omitempty"` // whatever is younger, as "90d"
	KeepMost   int    `json:"keepMost,omitempty"`   // but no more applies
}

// PruneAnswer tells what became of it.
type PruneAnswer struct {
	FormatVersion string `json:"formatVersion"`
	store.Pruned
}

// On gives settings with what the call says otherwise.
func (c *PruneCall) On(h config.History) (config.History, error) {
	if c.KeepLast != 0 {
		h.KeepLast = c.KeepLast
	}
	if c.KeepMost != 0 {
		h.KeepMost = c.KeepMost
	}
	if c.KeepWithin != "" {
		long, err := strict.ParseSpan(c.KeepWithin)
		if err != nil || long < 0 {
			return h, refuse(http.StatusBadRequest, "cannot keep applies of %q: a time is written like 90d or 12h", c.KeepWithin)
		}
		h.KeepWithin = long
	}
	if h.KeepLast < config.MinKeepLast || h.KeepMost < config.MinKeepMost {
		return h, refuse(http.StatusBadRequest, "cannot keep %d confirmed applies and %d of all: a rollback needs %d, and %d are the least of all", h.KeepLast, h.KeepMost, config.MinKeepLast, config.MinKeepMost)
	}
	return h, nil
}

// pruneNow prunes on somebody's word.
func (a *API) pruneNow(r *request) (any, error) {
	out := PruneAnswer{FormatVersion: format}
	err := a.d.by(r, func(_ context.Context, d *Daemon) error {
		h, err := r.body.(*PruneCall).On(d.site.Config.Settings.History)
		if err != nil {
			return err
		}
		out.Pruned, err = d.pruneTo(h)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
