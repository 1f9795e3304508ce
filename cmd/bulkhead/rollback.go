package main

import (
	"github.com/spf13/cobra"
)

func (a *app) rollbackCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback",
		Short: "take back a change that is on trial",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.endWaiting(cmd.Context(), nil, false)
		},
	}
}
