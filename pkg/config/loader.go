package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/inventory/file"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// loader collects what the files say, and then resolves it.
type loader struct {
	diags diag.List
	site  *Site
	set   map[string]diag.Pos // settings that may be given once -> where

	assets   map[string]int // ID -> index in site.Assets
	groups   map[string]*rawGroup
	services map[string]*rawService
	policies []*rawPolicy
	tests    []*rawTest
	points   map[string]*Point
	sources  map[string]*Source
	failsafe []*rawFailsafe
	probes   []*Probe

	precedence []strict.Named
}

// LoadFiles loads a site from files at hand: names relative to the site
// directory, with slashes. The site is never nil; if the list holds errors it is
// incomplete, and only good for rendering them.
func LoadFiles(files map[string][]byte) (*Site, *diag.List) {
	l := &loader{
		site:   &Site{Files: files, Hash: hashFiles(files), Settings: defaults(), Book: &policy.Rulebook{}},
		set:    map[string]diag.Pos{},
		assets: map[string]int{}, groups: map[string]*rawGroup{}, services: map[string]*rawService{},
		points: map[string]*Point{}, sources: map[string]*Source{},
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".csv" {
			l.addAssets(file.ReadCSV(name, files[name], &l.diags))
			continue
		}
		l.yaml(name, files[name])
	}
	l.resolve()
	return l.site, &l.diags
}

func hashFiles(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		// Lengths keep apart what names and contents could blur together.
		fmt.Fprintf(h, "%d %d\n%s", len(name), len(files[name]), name)
		h.Write(files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func defaults() Settings {
	return Settings{
		Name: DefaultName, ConfirmTimeout: DefaultConfirmTimeout, ObserveLearn: DefaultObserveLearn,
		Drift: DriftRepair, Approval: ApprovalNone,
		History: History{KeepLast: DefaultKeepLast, KeepWithin: DefaultKeepWithin, KeepMost: DefaultKeepMost},
		Limits:  Limits{NewlyDeniedPercent: DefaultNewlyDenied, AssetsLostPercent: DefaultAssetsLost, FirstEnforcement: FirstAsk},
	}
}

// yaml reads every document of one file.
func (l *loader) yaml(name string, data []byte) {
	d := &strict.Decoder{File: name, Source: data, Diags: &l.diags}
	in, err := yaml.NewLoader(bytes.NewReader(data))
	for err == nil {
		var doc yaml.Node
		if err = in.Load(&doc); err != nil {
			break
		}
		root := &doc
		if root.Kind == yaml.DocumentNode {
			if len(root.Content) == 0 {
				continue
			}
			root = root.Content[0]
		}
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			continue // nothing but comments
		}
		strict.Object("a site file", nil, l.topKeys).Read(d, root)
	}
	if !errors.Is(err, io.EOF) {
		l.syntax(name, err)
	}
}

func (l *loader) syntax(name string, err error) {
	pos, msg := diag.Pos{File: name, Line: 1, Col: 1}, err.Error()
	var le *yaml.LoadError
	if errors.As(err, &le) {
		if le.Mark.Line > 0 {
			pos.Line, pos.Col = le.Mark.Line, max(le.Mark.Column, 1)
		} else if at := le.Mark.Index; at > 0 && at < len(l.site.Files[name]) {
			pos.Line, pos.Col = place(l.site.Files[name][:at])
		}
		msg = le.Message
		if le.ContextMsg != "" {
			msg = le.ContextMsg + ": " + msg
		}
	}
	l.diags.Errorf(pos, "not valid YAML: %s", msg).Hint = "the rest of the file was not read"
}

// place is where the text that follows before begins: the YAML reader says of a
// character that it refuses only how many bytes come before it.
func place(before []byte) (line, col int) {
	line = bytes.Count(before, []byte("\n")) + 1
	return line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// topKeys are the keys that any file of a site may have.
func (l *loader) topKeys() []strict.Key {
	return append([]strict.Key{
		{Name: "assets", Doc: "What is on the network, by ID.", Value: file.Assets(l.addAsset)},
		{Name: "groups", Doc: "Named sets of addresses.", Value: l.groupsValue()},
		{Name: "services", Doc: "Named protocols and ports.", Value: l.servicesValue()},
		{Name: "policies", Doc: "Who may talk to whom.", Value: l.policiesValue()},
		{Name: "tests", Doc: "What must be permitted, and what denied, whatever the policies.", Value: l.testsValue()},
	}, l.settingsKeys()...)
}

// addAssets takes the assets of one file, with memory for all of them at once.
func (l *loader) addAssets(list []inventory.Asset) {
	l.site.Assets = slices.Grow(l.site.Assets, len(list))
	if len(list) > len(l.assets) {
		more := make(map[string]int, len(l.assets)+len(list))
		maps.Copy(more, l.assets)
		l.assets = more
	}
	for i := range list {
		l.addAsset(list[i])
	}
}

// addAsset takes a declared asset, unless its ID is taken.
func (l *loader) addAsset(a inventory.Asset) {
	if i, dup := l.assets[a.ID]; dup {
		l.diags.Errorf(a.Pos, "duplicate asset %q, first declared at %s", a.ID, l.site.Assets[i].Pos).Len = len(a.ID)
		return
	}
	l.assets[a.ID] = len(l.site.Assets)
	l.site.Assets = append(l.site.Assets, a)
}

// once notes that a setting is given at a place, and reports a second place.
func (l *loader) once(key string, at diag.Pos) bool {
	if first, dup := l.set[key]; dup {
		l.diags.Errorf(at, "%q is given twice, first at %s", key, first)
		return false
	}
	l.set[key] = at
	return true
}

// duplicate reports a name that another file, or this one, has given already.
func (l *loader) duplicate(what string, name strict.Named, first diag.Pos) {
	l.diags.Errorf(name.Pos, "duplicate %s %q, first given at %s", what, name.Value, first).Len = name.Len
}

// resolve turns what was read into the site.
func (l *loader) resolve() {
	l.resolveSettings()
	l.resolveServices()
	l.resolveGroups()
	l.resolvePolicies()
	l.resolveFailsafe()
	l.resolveTests()
	l.site.Assets = byID(l.site.Assets)
}

// byID sorts assets by moving their IDs, and each asset once: they are large.
func byID(assets []inventory.Asset) []inventory.Asset {
	type key struct {
		id string
		at int
	}
	keys := make([]key, len(assets))
	for i := range assets {
		keys[i] = key{assets[i].ID, i}
	}
	order := func(a, b key) int { return cmp.Compare(a.id, b.id) }
	if slices.IsSortedFunc(keys, order) {
		return assets
	}
	slices.SortFunc(keys, order)
	out := make([]inventory.Asset, len(assets))
	for i, k := range keys {
		out[i] = assets[k.at]
	}
	return out
}

// unknown reports a reference to nothing.
func (l *loader) unknown(what string, ref strict.Named, known []string) {
	strict.Report(&l.diags, ref, strict.Unknown(what, ref.Value, known))
}

// mayLearn reports whether a source of the site may create assets, so that an ID
// which no file declares can still exist.
func (l *loader) mayLearn() bool {
	for _, s := range l.sources {
		if s.Trust == inventory.TrustFull {
			return true
		}
	}
	return false
}

// assetRef checks a reference to an asset, and reports whether there may be one.
func (l *loader) assetRef(ref strict.Named) bool {
	if _, ok := l.assets[ref.Value]; ok {
		return true
	}
	known := slices.Collect(maps.Keys(l.assets))
	if l.mayLearn() && file.CheckID(ref.Value) == nil {
		w := l.diags.Warnf(ref.Pos, "no file declares asset %q; it has no address until a source reports it", ref.Value)
		w.Hint, w.Len = diag.DidYouMean(ref.Value, known), ref.Len
		return true
	}
	l.unknown("asset", ref, known)
	return false
}
