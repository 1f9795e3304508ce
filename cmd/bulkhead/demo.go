package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/cmd/bulkhead/demo"
)

func (a *app) demoCmd() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the whole way in a small plant of network namespaces, with real packets",
		Long: `Lay out a small plant around a gateway, plan, apply, verify, send real packets for
every pair of hosts and every service, change the policy, move an asset, break the
ruleset behind the controller's back and repair it. Nothing outside of the demo's own
namespaces is touched. Exit code 0 only if every packet fared as policy says.

With --aws it is the hybrid example: a plant and its gateway in namespaces, and two VPCs
of an AWS account that is a simulation in this program. No account is used, and what the
simulation says is marked.

With --switch it is a switch: an HMI and two PLCs in one VLAN, filtered at their ports by
lists that a NETCONF server holds. It needs root, Open vSwitch, netconfd and sshd, and says
which of them are missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("cannot find this program to run it: %w", err)
			}
			o.Exe, o.Out, o.Err = exe, a.out, a.err
			err = demo.Run(cmd.Context(), o)
			if errors.Is(err, demo.ErrDisagree) {
				return withCode(exitPending, err)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show what every command prints")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep the site and the state that the demo worked on")
	cmd.Flags().BoolVar(&o.AWS, "aws", false, "with the security groups of a simulated AWS account besides the gateway")
	cmd.Flags().BoolVar(&o.Switch, "switch", false, "with the ports of a switch instead of a gateway (needs root)")
	cmd.Flags().StringVar(&o.Break, "break", "", "break one map element before a round (open or close): the comparison must fail")
	return cmd
}
