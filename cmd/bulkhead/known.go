package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// load reads and works the site out, with what its sources report and what the
// state knows of them. Brakes in accept that are about sources count as accepted.
func (a *app) load(ctx context.Context, accept []string) (*reconcile.Site, error) {
	opt := reconcile.LoadOptions{Config: a.takeConfig, Collect: true, Known: a.known, AcceptLost: reconcile.AcceptsLost(accept),
		Quarantined: []reconcile.InQuarantine{a.quarantines}}
	s, diags, err := reconcile.LoadWith(ctx, a.site, a.now(), a.kinds, opt)
	if err != nil {
		return nil, err
	}
	if err := a.show(s, diags); err != nil {
		return nil, err
	}
	return s, s.CheckAccepted(accept)
}

// known reads what the state remembers of a site's sources.
func (a *app) known(site string) (map[string]inventory.Known, error) {
	st, err := a.readState(site)
	if err != nil {
		return nil, err
	}
	if st != nil {
		defer st.Close()
	}
	return reconcile.KnownSources(st)
}

// readState opens the state of a site for reading; nil if there is none.
func (a *app) readState(site string) (*store.Store, error) {
	dir, err := store.Dir(a.state)
	if err != nil {
		return nil, err
	}
	return readState(dir, site)
}

// saySources names the sources of which not simply what they report counts.
func saySources(w io.Writer, s *reconcile.Site) {
	for i := range s.Sources {
		if s.Sources[i].State != inventory.SourceCurrent {
			fmt.Fprintln(w, s.Sources[i].String())
		}
	}
}

// beside is what loading a site prints.
func beside(dir string, s *reconcile.Site, sources bool) string {
	var b strings.Builder
	if s.Diags != nil && s.Diags.Len() > 0 {
		_ = s.Diags.Render(&b, reconcile.Source(dir, s)) // a Builder takes everything
	}
	if sources {
		saySources(&b, s)
	}
	return b.String()
}

// knownBrakes refuses to accept what is no brake: a name that is mistyped would be
// found out only when the plan is held.
func knownBrakes(names []string) error {
	known := append(reconcile.BrakeNames(), controller.BrakeRolledBack, controller.BrakeUnconfirmed)
	for _, n := range names {
		if brake, _, one := strings.Cut(n, "="); one && brake == reconcile.BrakeSourceLost {
			continue // which sources there are is known once they were asked
		}
		if !slices.Contains(known, n) {
			return fmt.Errorf("there is no brake %q%s", diag.Safe(n), didYouMean(n, known))
		}
	}
	return nil
}
