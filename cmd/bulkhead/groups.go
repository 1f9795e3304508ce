package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/reconcile"
)

type groupRow struct {
	Name      string              `json:"name"`
	Isolate   string              `json:"isolate"`
	Addresses string              `json:"addresses"`
	Assets    []string            `json:"assets"`
	Undecided map[string][]string `json:"undecided"` // asset -> what it lacks
	Where     string              `json:"where"`     // file:line
}

func (a *app) groupsCmd() *cobra.Command {
	var format string
	var offline bool
	cmd := &cobra.Command{
		Use:   "groups [NAME...]",
		Short: "list the groups with their members, and whose membership nobody can tell",
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := a.groups(cmd.Context(), args, offline)
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(a.out, map[string]any{"formatVersion": "1.0", "groups": rows})
			}
			a.printGroups(rows)
			return nil
		},
	}
	outputFlag(cmd, &format, "table", "json")
	cmd.Flags().BoolVar(&offline, "offline", false, "only what the site's files declare")
	return cmd
}

// groups gives those that are named, or all: of a running daemon what is in force.
func (a *app) groups(ctx context.Context, names []string, offline bool) ([]groupRow, error) {
	var d *client
	if !offline {
		d = a.reader(ctx)
	}
	var got struct{ Groups []groupRow }
	if ok, err := a.answered(ctx, d, pathOf("groups"), url.Values{"name": names}, &got); ok {
		return got.Groups, err
	}
	s, err := a.loaded(ctx, !offline)
	if err != nil {
		return nil, err
	}
	return groupRows(s, names)
}

func groupRows(s *reconcile.Site, only []string) ([]groupRow, error) {
	var names []string
	for _, g := range s.Config.Book.Groups {
		names = append(names, g.Name)
	}
	want := map[string]bool{}
	for _, n := range only {
		want[n] = true
		if _, ok := s.Matrix.GroupAddrs(n); !ok {
			return nil, fmt.Errorf("no group %q%s", n, didYouMean(n, names))
		}
	}
	rows := []groupRow{}
	for _, g := range s.Config.Book.Groups {
		if len(only) > 0 && !want[g.Name] {
			continue
		}
		set, _ := s.Matrix.GroupAddrs(g.Name)
		row := groupRow{Name: g.Name, Isolate: string(g.Isolate), Addresses: set.String(), Assets: []string{}, Undecided: map[string][]string{}, Where: g.Pos.String()}
		for i := range s.Inventory.Assets {
			as := &s.Inventory.Assets[i]
			if packet.AddrsOf(as.Addresses...).Overlaps(set) {
				row.Assets = append(row.Assets, as.ID)
			}
		}
		for _, u := range s.Members.Undecided {
			if u.Group == g.Name {
				row.Undecided[u.Asset] = append([]string{}, u.Missing...)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (a *app) printGroups(rows []groupRow) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tISOLATE\tASSETS\tADDRESSES\tDECLARED")
	for _, r := range rows {
		assets := "-"
		if len(r.Assets) > 0 {
			assets = diag.Safe(strings.Join(r.Assets, " "))
		}
		if len(assets) > 60 {
			assets = fmt.Sprintf("%d assets", len(r.Assets))
		}
		addrs := r.Addresses
		if len(addrs) > 60 {
			addrs = fmt.Sprintf("%d runs", len(strings.Fields(addrs)))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Isolate, assets, addrs, r.Where)
	}
	w.Flush()
	for _, r := range rows {
		for _, as := range sortedKeys(r.Undecided) {
			fmt.Fprintf(a.out, "undecided: %s is not in %s, because it has no %s\n", diag.Safe(as), r.Name, strings.Join(r.Undecided[as], ", "))
		}
	}
}
