package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v4"
)

// resolved is the schema as an editor would use it.
func resolved(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSchemaAcceptsDesignSite(t *testing.T) {
	r := resolved(t)
	for name, text := range readTree(t, "testdata/design") {
		if strings.HasSuffix(name, ".csv") {
			continue
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		// Through JSON, so that the validator sees the types that it knows.
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		if err := r.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every key that the schema has is one that the decoder takes, and a key that it
// has not is one that the decoder refuses: the test walks the schema and puts
// each object, with every key and with one too many, before the decoder.
func TestSchemaAndDecoderAgree(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	objects := 0
	var walk func(path string, s map[string]any, wrap func(inner string) string)
	walk = func(path string, s map[string]any, wrap func(string) string) {
		if either, ok := s["anyOf"].([]any); ok {
			for _, a := range either {
				walk(path, a.(map[string]any), wrap)
			}
		}
		if items, ok := s["items"].(map[string]any); ok {
			walk(path+"[]", items, func(in string) string { return wrap("[" + in + "]") })
		}
		if more, ok := s["additionalProperties"].(map[string]any); ok {
			walk(path+".*", more, func(in string) string { return wrap("{x: " + in + "}") })
		}
		props, ok := s["properties"].(map[string]any)
		if !ok {
			return
		}
		objects++
		var keys []string
		for k, v := range props {
			keys = append(keys, k)
			sub := v.(map[string]any)
			if sub["description"] == nil || sub["description"] == "" {
				t.Errorf("%s.%s has no description", path, k)
			}
			walk(path+"."+k, sub, func(in string) string { return wrap("{" + k + ": " + in + "}") })
		}
		slices.Sort(keys)
		for _, k := range append(keys, "bogus") {
			_, msg := one(wrap("{" + k + ": }"))
			refused := strings.Contains(msg, fmt.Sprintf("unknown key %q", k))
			_, open := s["additionalProperties"].(map[string]any) // settings, whose names are not the loader's to judge
			if refused != (k == "bogus" && !open) {
				t.Errorf("%s, key %q: refused is %t: %s", path, k, refused, msg)
			}
		}
	}
	walk("", root, func(in string) string { return in })
	if objects < 15 {
		t.Errorf("only %d objects in the schema", objects)
	}
}

// What the schema lists in an enumeration the decoder takes, and nothing else.
func TestSchemaEnums(t *testing.T) {
	const base = "groups: {a: {members: []}}\npolicies: [{name: p, from: a, to: a, services: any, action: %s, tier: %s, direction: %s, mode: %s}]\n"
	var s struct {
		Properties map[string]struct {
			Items struct {
				Properties map[string]struct{ Enum []string }
			}
		}
	}
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	p := s.Properties["policies"].Items.Properties
	def := []any{"allow", "application", "both", "enforce"}
	for i, key := range []string{"action", "tier", "direction", "mode"} {
		if len(p[key].Enum) < 2 {
			t.Errorf("%s: %v", key, p[key].Enum)
		}
		for _, v := range append(p[key].Enum, "bogus") {
			args := slices.Clone(def)
			args[i] = v
			if _, msg := one(fmt.Sprintf(base, args...)); (msg != "") != (v == "bogus") {
				t.Errorf("%s: %s: %q", key, v, msg)
			}
		}
	}
}
