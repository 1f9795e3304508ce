package reconcile

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"bulkhead/inventory"
	"bulkhead/inventory/ec2"
	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/config"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// ec2Settings reads the settings of a source of type ec2, and reports what is wrong with
// them. Their forms were seen to by config.CheckTypes.
func ec2Settings(src *config.Source, l *diag.List) *ec2.Settings {
	s := &ec2.Settings{
		ExternalID: src.Settings["external_id"].Text, Profile: src.Settings["profile"].Text, Endpoint: src.Settings["endpoint"].Text,
		Functions: ec2.FunctionMode(src.Settings["functions"].Text), ImageNames: src.Flag("image_names"), Public: src.Flag("public_addresses"),
		Timeout: src.Duration("timeout"), Labels: ec2.Labels{Prefix: src.Settings["label_prefix"].Text},
	}
	words := func(name string, check func(string) error) (out []string) {
		seen := map[string]bool{}
		for _, w := range src.Words(name) {
			err := check(w.Value)
			if err == nil && seen[w.Value] {
				err = fmt.Errorf("%q is there twice", w.Value)
			}
			if err != nil {
				strict.Report(l, w, err)
			}
			seen[w.Value] = true
			out = append(out, w.Value)
		}
		return out
	}
	s.Regions = words("regions", ec2.CheckRegion)
	s.Roles = words("roles", ec2.CheckRole)
	s.VPCs = words("vpcs", ec2.CheckVPC)
	if err := ec2.CheckRoles(s.Roles); err != nil {
		strict.Report(l, src.Settings["roles"].Words[0], err)
	}
	if _, given := src.Settings["tags"]; given {
		s.Labels.Tags = map[string]string{}
		words("tags", func(text string) error {
			key, label, err := ec2.ParseTag(text)
			s.Labels.Tags[key] = label
			return err
		})
	}
	for _, w := range src.Words("label_prefix") {
		if err := ec2.CheckPrefix(w.Value); err != nil {
			strict.Report(l, w, err)
		}
	}
	for _, w := range src.Words("endpoint") {
		if u, err := url.Parse(w.Value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			strict.Report(l, w, fmt.Errorf("%q is not a URL like %q", w.Value, "http://127.0.0.1:4566"))
		}
	}
	return s
}

// checkSources reports what is wrong with the settings of sources, beyond their form.
func checkSources(cfg *config.Site) *diag.List {
	var l diag.List
	for i := range cfg.Settings.Sources {
		src := &cfg.Settings.Sources[i]
		if src.Type != config.SourceEC2 {
			continue
		}
		ec2Settings(src, &l)
		if src.Trust == inventory.TrustEvidence {
			l.Warnf(src.Pos, "source %q makes no assets: what it reports is evidence", src.Name).Hint = "AWS knows who holds an address; with trust: full its instances are assets"
		}
	}
	return &l
}

// hearEC2 asks a source of type ec2, which answers in parts.
func hearEC2(ctx context.Context, src *config.Source) []inventory.Heard {
	var l diag.List
	s := ec2Settings(src, &l)
	if all := l.All(); len(all) > 0 {
		return []inventory.Heard{heard(src, inventory.Report{}, fmt.Errorf("its settings: %s", all[0].Message))}
	}
	return heardEC2(src, ec2.Read(ctx, s))
}

// unheardEC2 is a source of type ec2 that has not answered yet, in its parts.
func unheardEC2(src *config.Source) []inventory.Heard {
	var list []ec2.Result
	for _, p := range ec2Settings(src, &diag.List{}).Parts() {
		list = append(list, ec2.Result{Part: p, Err: errUnheard})
	}
	return heardEC2(src, list)
}

func heardEC2(src *config.Source, list []ec2.Result) []inventory.Heard {
	var out []inventory.Heard
	for _, r := range list {
		out = append(out, r.Heard(src.Name, src.Trust, src.StaleAfter, src.Pos.String()))
	}
	return out
}

// driverAWS is the name of the driver whose points call AWS.
const driverAWS = "aws"

// AWSNeeds is what IAM has to allow for a site, see ec2api.Policy.
type AWSNeeds struct {
	Own     []ec2api.Use // of the credentials themselves
	Assumed []ec2api.Use // of the roles that they assume
	Roles   []string     // those, sorted
}

// AWSNeedsOf says what the sources and points of a site need. Its settings must be in order.
func AWSNeedsOf(cfg *config.Site) AWSNeeds {
	var n AWSNeeds
	for i := range cfg.Settings.Sources {
		src := &cfg.Settings.Sources[i]
		if src.Type != config.SourceEC2 {
			continue
		}
		s := ec2Settings(src, &diag.List{})
		everywhere, own := s.Uses()
		n.Own = append(n.Own, own...)
		if len(s.Roles) == 0 || slices.Contains(s.Roles, ec2.Own) {
			n.Own = append(n.Own, everywhere...)
		}
		for _, r := range s.Roles {
			if r != ec2.Own {
				n.Assumed, n.Roles = append(n.Assumed, everywhere...), append(n.Roles, r)
			}
		}
	}
	for i := range cfg.Settings.Points {
		p := &cfg.Settings.Points[i]
		if p.Driver != driverAWS {
			continue
		}
		uses := []ec2api.Use{ec2api.Observe}
		if p.Mode != policy.Observe {
			uses = append(uses, ec2api.Enforce)
			if p.Settings["functions"].Text == "manage" {
				uses = append(uses, ec2api.ManageFunctions)
			}
		}
		if role := p.Settings["role"].Text; role != "" {
			n.Own, n.Assumed, n.Roles = append(n.Own, ec2api.AssumeRole), append(n.Assumed, uses...), append(n.Roles, role)
		} else {
			n.Own = append(n.Own, uses...)
		}
	}
	slices.Sort(n.Roles)
	n.Roles = slices.Compact(n.Roles)
	return n
}
