package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "check the site directory, without the network",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.loaded(cmd.Context(), false)
			if err != nil {
				return err
			}
			if _, err := s.Devices(cmd.Context(), true); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s: %d files, %d assets, %d groups, %d policies, %d tests, %d points: valid\n", a.site, len(s.Config.Files),
				len(s.Inventory.Assets), len(s.Config.Book.Groups), len(s.Config.Book.Policies), len(s.Config.Tests), len(s.Config.Settings.Points))
			return nil
		},
	}
}
