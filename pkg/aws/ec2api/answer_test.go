package ec2api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
)

// reader is a read, with what its answer's list is called; n is how many it gave.
type reader struct {
	name, list string
	read       func(ctx context.Context, c *ec2api.Client) (n int, err error)
}

func counted[T any](list []T, err error) (int, error) { return len(list), err }

func readers() []reader {
	return []reader{
		{"VPCs", "vpcSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.VPCs(ctx)) }},
		{"subnets", "subnetSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Subnets(ctx)) }},
		{"peerings", "vpcPeeringConnectionSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Peerings(ctx)) }},
		{"instances", "reservationSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Instances(ctx)) }},
		{"interfaces", "networkInterfaceSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Interfaces(ctx)) }},
		{"groups", "securityGroupInfo", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Groups(ctx)) }},
		{"rules", "securityGroupRuleSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Rules(ctx)) }},
		{"prefix lists", "prefixListSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.PrefixLists(ctx)) }},
		{"entries", "entrySet", func(ctx context.Context, c *ec2api.Client) (int, error) {
			return counted(c.PrefixListEntries(ctx, "pl-1"))
		}},
		{"images", "imagesSet", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Images(ctx, "ami-1")) }},
		{"templates", "launchTemplateVersionSet", func(ctx context.Context, c *ec2api.Client) (int, error) {
			return counted(c.CurrentTemplateVersions(ctx))
		}},
		{"scaling groups", "AutoScalingGroups", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.ScalingGroups(ctx)) }},
		{"functions", "Functions", func(ctx context.Context, c *ec2api.Client) (int, error) { return counted(c.Functions(ctx)) }},
		{"tags", "Tags", func(ctx context.Context, c *ec2api.Client) (int, error) {
			tags, err := c.FunctionTags(ctx, "arn:aws:lambda:eu-central-1:111122223333:function:f")
			return len(tags), err
		}},
	}
}

// wire answers with one body, or passes requests on and keeps the body of the answer.
type wire struct {
	to   http.Handler // nil: answer with body
	body []byte
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if w.to != nil {
		w.to.ServeHTTP(rec, r)
		w.body = rec.Body.Bytes()
		return rec.Result(), nil
	}
	_, _ = rec.Write(w.body)
	return rec.Result(), nil
}

// recorded are answers of a world that has something of everything.
func recorded(t testing.TB) (all []reader, bodies [][]byte, through func(testing.TB, []byte) *ec2api.Client) {
	w := newWorld(t)
	w.r.AddInstance(awstest.InstanceSpec{Name: "web", Interfaces: []awstest.InterfaceSpec{{Subnet: w.sub, Groups: []string{w.r.DefaultGroup(w.vpc)}}}})
	w.r.AddPeering(w.vpc, w.r, w.r.AddVPC("second", "10.9.0.0/16"))
	lt := w.r.AddLaunchTemplate("web", awstest.LaunchVersion{Groups: []string{w.r.DefaultGroup(w.vpc)}})
	w.r.AddScalingGroup(awstest.ScalingGroup{Name: "web", Template: lt})
	w.r.AddFunction(awstest.FunctionSpec{Name: "f", Subnets: []string{w.sub}, Groups: []string{w.r.DefaultGroup(w.vpc)}, Tags: map[string]string{"a": "b"}})
	list, image := w.r.AddPrefixList("l", 5, "192.0.2.0/24"), w.r.AddImage("debian", "")
	rec := &wire{to: w.World}
	c := w.client(t, &http.Client{Transport: rec})
	for _, r := range readers() {
		var n int
		var err error
		switch r.name {
		case "entries":
			n, err = counted(c.PrefixListEntries(t.Context(), list))
		case "images":
			n, err = counted(c.Images(t.Context(), image))
		default:
			n, err = r.read(t.Context(), c)
		}
		if err != nil || n == 0 {
			t.Fatalf("%s: %d, %v", r.name, n, err)
		}
		all, bodies = append(all, r), append(bodies, bytes.Clone(rec.body))
	}
	// A client of its own for each answer: the limits of a client keep nobody waiting then.
	return all, bodies, func(t testing.TB, body []byte) *ec2api.Client {
		return w.client(t, &http.Client{Transport: &wire{body: body}})
	}
}

// An answer that ends early, wherever it does, is no answer; nor is one of another kind. None
// of it is taken for a network that holds less.
func TestCutAnswers(t *testing.T) {
	all, bodies, through := recorded(t)
	ctx := t.Context()
	for i, r := range all {
		n, err := r.read(ctx, through(t, bodies[i]))
		if err != nil || n == 0 {
			t.Errorf("%s: the whole answer gives %d, %v", r.name, n, err)
		}
		var bad [][]byte
		for _, part := range []int{0, 1, 2, 5, 20, 50, 80, 95} {
			bad = append(bad, bodies[i][:len(bodies[i])*part/100])
		}
		for back := 1; back < min(40, len(bodies[i])); back += 3 {
			bad = append(bad, bodies[i][:len(bodies[i])-back])
		}
		bad = append(bad, []byte("<html><body>please log in</body></html>"), []byte("{}"), []byte("null"), []byte("OK"),
			bytes.ReplaceAll(bodies[i], []byte(r.list), []byte(r.list+"s")), append(bytes.Clone(bodies[i]), bodies[i]...),
			bytes.ReplaceAll(bodies[i], []byte("<item>"), []byte("<items>")))
		for _, b := range bad {
			if bytes.Equal(b, bodies[i]) {
				continue // JSON knows no items
			}
			n, err := r.read(ctx, through(t, b))
			if err == nil {
				t.Errorf("%s: %d of %d bytes pass for an answer, of %d things: %q", r.name, len(b), len(bodies[i]), n, b[max(0, len(b)-60):])
			} else if ec2api.KindOf(err) != ec2api.Malformed {
				t.Errorf("%s: %s: %v", r.name, ec2api.KindOf(err), err)
			}
		}
	}
}

// tree is any XML.
type tree struct {
	XMLName xml.Name
	Kids    []tree `xml:",any"`
}

func (n *tree) find(name string) (out []*tree) {
	if n.XMLName.Local == name {
		out = append(out, n)
	}
	for i := range n.Kids {
		out = append(out, n.Kids[i].find(name)...)
	}
	return out
}

// Whatever comes for an answer, nothing panics, and what is taken gives something if its list
// holds something.
func FuzzAnswer(f *testing.F) {
	all, bodies, through := recorded(f)
	for i := range all {
		for _, b := range [][]byte{bodies[i], bodies[i][:len(bodies[i])/2], nil, []byte("<html/>"), []byte("{}"), bytes.ReplaceAll(bodies[i], []byte("item"), []byte("member"))} {
			f.Add(byte(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		r := all[int(which)%len(all)]
		n, err := r.read(t.Context(), through(t, body))
		if err != nil {
			return
		}
		if r.list == "Functions" || r.list == "Tags" {
			var doc map[string]json.RawMessage
			if err := json.Unmarshal(body, &doc); err != nil {
				t.Fatalf("%s: %q is taken", r.name, body)
			}
			return
		}
		var doc tree
		d := xml.NewDecoder(bytes.NewReader(body))
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("%s: %q is taken, which is no XML: %v", r.name, body, err)
		}
		lists := doc.find(r.list)
		if len(lists) == 0 || len(lists[0].Kids) > 0 && n == 0 {
			t.Fatalf("%s: %q gives nothing", r.name, body)
		}
	})
}
