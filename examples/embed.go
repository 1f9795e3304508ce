// Package examples holds complete site directories, for reading and for the demo.
// Each has in its tests the verdicts that its policy must give, worked out by
// hand.
package examples

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed plant datacenter hybrid
var files embed.FS

// Names lists the examples.
func Names() []string { return []string{"datacenter", "hybrid", "plant"} }

// FS returns the site directory of an example.
func FS(name string) (fs.FS, error) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, fmt.Errorf("there is no example %q; there are %q", name, Names())
	}
	return fs.Sub(files, name)
}

// Write writes an example as a site directory, which must not exist yet. Nobody
// but its owner can change it, as a site demands.
func Write(name, dir string) error {
	src, err := FS(name)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("write example %q: %w", name, err)
	}
	return fs.WalkDir(src, ".", func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, filepath.FromSlash(path))
		switch {
		case err != nil:
			return err
		case path == ".":
			return nil
		case d.IsDir():
			return os.Mkdir(to, 0o755)
		}
		data, err := fs.ReadFile(src, path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
}
