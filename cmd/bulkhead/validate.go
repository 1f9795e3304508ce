package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/pkg/reconcile"
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
			devices, err := s.Devices(cmd.Context(), true)
			if err != nil {
				return err
			}
			reconcile.Close(devices)
			said := []string{counted(len(s.Config.Files), "file", "files"), counted(len(s.Inventory.Assets), "asset", "assets"),
				counted(len(s.Config.Book.Groups), "group", "groups"), counted(len(s.Config.Book.Policies), "policy", "policies"),
				counted(len(s.Config.Tests), "test", "tests"), counted(len(s.Config.Settings.Points), "point", "points")}
			fmt.Fprintf(a.out, "%s: %s: valid\n", a.site, strings.Join(said, ", "))
			return nil
		},
	}
}
