package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
)

func (a *app) iamPolicyCmd() *cobra.Command {
	var names []string
	for _, u := range ec2api.Uses() {
		names = append(names, string(u))
	}
	var assumed bool
	cmd := &cobra.Command{
		Use:   "iam-policy [USE...]",
		Short: "print the least IAM policy that AWS has to grant",
		Long: `Print the least IAM policy, as JSON, that the site's sources and points in AWS need: for
the credentials themselves, or with --assumed for the roles that they assume. With USE it
is the policy for that, whatever the site has:

  ` + strings.Join(names, ", "),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			var uses []ec2api.Use
			for _, u := range args {
				if !slices.Contains(names, u) {
					return fmt.Errorf("there is nothing to use AWS for that is called %q%s; there is %s", diag.Safe(u), didYouMean(u, names), strings.Join(names, ", "))
				}
				uses = append(uses, ec2api.Use(u))
			}
			var roles []string
			if len(uses) == 0 {
				s, err := a.loaded(cmd.Context(), false)
				if err != nil {
					return err
				}
				needs := reconcile.AWSNeedsOf(s.Config)
				uses, roles = needs.Own, needs.Roles
				if assumed {
					uses = needs.Assumed
				}
				if len(uses) == 0 {
					return errors.New("the site asks nothing of AWS with these credentials; name what the policy is for: " + strings.Join(names, ", "))
				}
			}
			_, err := a.out.Write(ec2api.Policy(roles, uses...))
			return err
		},
	}
	cmd.Flags().BoolVar(&assumed, "assumed", false, "the policy for the roles that the site's sources and points assume")
	return cmd
}
