package reconcile_test

import (
	"context"
	"strings"
	"testing"

	"bulkhead/drivers"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/reconcile"
)

// A point's settings that its driver does not have, cannot read or misses are mistakes of
// the site, each at its place, before any device is asked.
func TestPointSettings(t *testing.T) {
	for _, tt := range []struct{ driver, settings, want, hint string }{
		{"aws", "{region: eu-central-1, exclusive: true, vpcs: vpc-1, rules_per_group: 1000, groups_per_interface: 16}", "", ""},
		{"aws", "{regoin: eu-central-1, region: eu-central-1}", `bulkhead.yaml:3:50: error: unknown setting of the driver aws "regoin"`, `did you mean "region"?`},
		{"aws", "{}", `bulkhead.yaml:3:3: error: point "p" of driver "aws" needs the setting "region"`, ""},
		{"aws", "{region: [eu-central-1]}", `"region" must be a text`, ""},
		{"aws", "{region: eu-central-1, exclusive: maybe}", `"exclusive" must be true or false`, ""},
		{"aws", "{region: eu-central-1, rules_per_group: 0}", `"rules_per_group" must be a whole number of at least 1`, ""},
		{"aws", "{region: eu-central-1, groups_per_interface: many}", `"groups_per_interface" must be a whole number of at least 1`, ""},
		{"netconf", "{address: sw1, user: u, password: {env: P}, known_hosts: /k, dialect: ietf, uplinks: swp48}", "", ""},
		{"netconf", "{address: sw1, user: u, password: p, known_hosts: /k, dialect: ietf}", `bulkhead.yaml:3:87: error: "password" must be {file: PATH}, {env: NAME} or {credential: NAME}`, ""},
		{"netconf", "{address: sw1, user: u, known_hosts: /k, dialect: ieft}", `unknown value of dialect "ieft"`, `did you mean "ietf"?`},
		{"nftables", "{table: t}", `unknown setting of the driver nftables "table"`, ""},
	} {
		dir := writeSite(t, map[string]string{"bulkhead.yaml": "name: t\npoints:\n  p: {driver: " + tt.driver + ", protects: 'false', settings: " + tt.settings + "}\n"})
		_, diags, err := reconcile.LoadWith(context.Background(), dir, policytest.Epoch, drivers.Kinds(), reconcile.LoadOptions{})
		var got []string
		for _, d := range diags.All() {
			got = append(got, d.Error()+" "+d.Hint)
		}
		if all := strings.Join(got, "\n"); err != nil || diags.HasErrors() != (tt.want != "") || !strings.Contains(all, tt.want) || !strings.Contains(all, tt.hint) {
			t.Errorf("%s %s: %v\n%s", tt.driver, tt.settings, err, all)
		}
	}
}
