package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bulkhead/inventory"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/reconcile"
)

func (a *app) assetsCmd() *cobra.Command {
	var format string
	var offline bool
	cmd := &cobra.Command{
		Use:   "assets [ID...]",
		Short: "list the merged inventory, its conflicts, and what was only seen",
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := a.assets(cmd.Context(), args, offline)
			if err != nil {
				return err
			}
			list := inv.Assets
			switch format {
			case "json":
				return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "assets": notNil(list), "evidence": notNil(inv.Evidence), "conflicts": notNil(inv.Conflicts)})
			case "facts":
				a.printFacts(list)
			default:
				a.printAssets(list)
			}
			for _, c := range inv.Conflicts {
				fmt.Fprintf(a.err, "conflict: %s\n", c.String())
			}
			if n := len(inv.Evidence); n > 0 && len(args) == 0 {
				fmt.Fprintf(a.err, "%d entries of sources became no asset; -o json lists them with the reason\n", n)
			}
			return nil
		},
	}
	outputFlag(cmd, &format, "table", "facts", "json")
	cmd.Flags().BoolVar(&offline, "offline", false, "only what the site's files declare")
	return cmd
}

// assets gives the inventory with those that are named, or all: of a running daemon what
// is in force.
func (a *app) assets(ctx context.Context, ids []string, offline bool) (*inventory.Inventory, error) {
	var d *client
	if !offline {
		d = a.reader(ctx)
	}
	got := &inventory.Inventory{}
	if ok, err := a.answered(ctx, d, pathOf("inventory"), url.Values{"id": ids}, got); ok {
		return got, err
	}
	s, err := a.loaded(ctx, !offline)
	if err != nil {
		return nil, err
	}
	list, err := assetsOf(s, ids)
	return &inventory.Inventory{Assets: list, Evidence: s.Inventory.Evidence, Conflicts: s.Inventory.Conflicts}, err
}

func assetsOf(s *reconcile.Site, ids []string) ([]inventory.Asset, error) {
	if len(ids) == 0 {
		return s.Inventory.Assets, nil
	}
	var list []inventory.Asset
	for _, id := range ids {
		as := s.Inventory.Lookup(id)
		if as == nil {
			return nil, fmt.Errorf("no asset %q%s", id, didYouMean(id, assetIDs(s.Inventory)))
		}
		list = append(list, *as)
	}
	return list, nil
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func assetIDs(inv *inventory.Inventory) []string {
	var out []string
	for _, as := range inv.Assets {
		out = append(out, as.ID)
	}
	return out
}

func didYouMean(word string, among []string) string {
	if s := diag.Suggest(word, among); s != "" {
		return fmt.Sprintf(": did you mean %q?", s)
	}
	return ""
}

func (a *app) printAssets(list []inventory.Asset) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKIND\tADDRESSES\tLABELS\tWHERE")
	for _, as := range list {
		addrs := make([]string, 0, len(as.Addresses))
		for _, p := range as.Addresses {
			addrs = append(addrs, inventory.FormatPrefix(p))
		}
		labels := make([]string, 0, len(as.Labels))
		for _, k := range slices.Sorted(maps.Keys(as.Labels)) {
			labels = append(labels, diag.Safe(k)+"="+diag.Safe(as.Labels[k]))
		}
		where := as.Pos.String()
		if as.Pos.File == "" {
			where = "source " + strings.Join(as.Sources(), " ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", diag.Safe(as.ID), as.Kind, strings.Join(addrs, " "), strings.Join(labels, " "), where)
	}
	w.Flush()
}

func (a *app) printFacts(list []inventory.Asset) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tFACT\tVALUE\tSOURCE\tWHERE")
	for _, as := range list {
		for _, f := range as.Facts {
			where := f.Pos.String()
			if f.Pos.File == "" {
				where = "-"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", diag.Safe(as.ID), diag.Safe(f.Field), diag.Safe(f.Value), diag.Safe(f.Source), where)
		}
	}
	w.Flush()
}
