package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
)

func (a *app) bootCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "boot",
		Short: "load what was last confirmed, before the network is up (for a boot unit)",
		Long: `Make every device of this machine hold what was last confirmed on it. A change that
was on trial when the machine went down is gone with that. Nothing is planned and no
source is asked; the policy files need not be in order. Points that had nothing
confirmed are left alone, and so are devices that already hold a table of ours.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.boot(cmd.Context()) },
	}
}

func (a *app) boot(ctx context.Context) error {
	cfg, _ := config.Load(a.site) // only the points matter: siteName says it where they cannot be read
	name, dir, err := a.siteName()
	if err != nil {
		return err
	}
	st, err := readState(dir, name)
	if err != nil {
		return err
	}
	if st == nil {
		fmt.Fprintf(a.out, "nothing was confirmed yet: there is no state of site %s in %s\n", name, dir)
		return nil
	}
	defer st.Close()
	return controller.Boot(ctx, st, &cfg.Settings, a.kinds, a.now(), func(format string, args ...any) {
		fmt.Fprintln(a.out, diag.Safe(fmt.Sprintf(format, args...)))
	})
}
