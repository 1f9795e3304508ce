package daemon

import (
	"context"
	"net/http"
	"time"

	"bulkhead/pkg/config"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/store"
)

// When the history is pruned: once everything is in force after a start, daily, and
// when the file has grown much: a source whose report changes all the time leaves each of
// them there. The index of the state is in memory, so that a daemon which never forgot
// would grow.
const (
	firstPrune = 2 * time.Minute
	pruneLook  = 10 * time.Minute
	pruneEvery = 24 * time.Hour
	pruneGrown = 64 << 20 // bytes, beyond twice what was left the last time
)

// pruned is what the last pruning came to.
type pruned struct {
	at   time.Time
	left int64
}

// due reports whether it is time again.
func (p *pruned) due(now time.Time, size int64) bool {
	return p.at.IsZero() || now.Sub(p.at) >= pruneEvery || now.Before(p.at) || size > 2*p.left+pruneGrown
}

// prune forgets what the settings do not keep, if it is time. It is for the goroutine
// that writes: no apply is about to begin meanwhile.
func (d *Daemon) prune() {
	if d.pruned.due(d.o.Now(), d.o.Store.Size().Bytes) {
		_, _ = d.pruneTo(d.site.Config.Settings.History) // it is logged, and nothing else fails by it
	}
}

func (d *Daemon) pruneTo(h config.History) (store.Pruned, error) {
	began := d.o.Now()
	done, err := d.c.Prune(h)
	d.pruned = pruned{began, done.After}
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
