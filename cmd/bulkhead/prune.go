package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/daemon"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

func (a *app) historyPruneCmd() *cobra.Command {
	var call daemon.PruneCall
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "forget old applies, as the daemon does by itself once a day",
		Long: `Forget applies that the settings ("history" in bulkhead.yaml) do not keep, and give
their space back. Whatever they say there stay: what is unfinished, what each device was
last confirmed to hold, what a rollback and the brakes need, and the audit log.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.prune(cmd.Context(), call) },
	}
	f := cmd.Flags()
	f.IntVar(&call.KeepLast, "keep-last", 0, "keep so many confirmed applies at least (default: what the site says)")
	f.StringVar(&call.KeepWithin, "keep-within", "", "keep applies that are younger, as 90d or 12h (default: what the site says)")
	f.IntVar(&call.KeepMost, "keep-most", 0, "but no more applies than so many (default: what the site says)")
	return cmd
}

func (a *app) prune(ctx context.Context, call daemon.PruneCall) error {
	d, err := a.daemon()
	if err != nil {
		return err
	}
	if d != nil {
		var out daemon.PruneAnswer
		if err := d.call(ctx, "POST", pathOf("history", "prune"), call, &out); err != nil {
			return err
		}
		a.sayPruned(out.Pruned)
		return nil
	}
	cfg, diags := a.config()
	if diags.HasErrors() { // what is to be kept is not known for sure
		return a.show(nil, diags)
	}
	keep, err := call.On(cfg.Settings.History)
	if err != nil {
		return err
	}
	st, err := a.openState(&reconcile.Site{Config: cfg}, "history prune")
	if err != nil {
		return err
	}
	defer st.Close()
	done, err := a.controller(st).Prune(keep)
	if err != nil {
		return err
	}
	a.sayPruned(done)
	return nil
}

func (a *app) sayPruned(p store.Pruned) {
	fmt.Fprintf(a.out, "%s forgotten; the state has %d bytes, and had %d\n", counted(p.Applies, "apply", "applies"), p.After, p.Before)
}
