package daemon

import (
	"context"
	"io/fs"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watchFiles says when something under the site directory has changed. Where that
// cannot be heard the interval is left, and it is said.
func (d *Daemon) watchFiles(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	if d.o.Dir == "" {
		return out
	}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = addTree(w, d.o.Dir)
	}
	if err != nil {
		d.o.Log.Warn("cannot hear of changes to the site directory; it is read at every interval", "error", err)
		if w != nil {
			w.Close()
		}
		return out
	}
	go func() {
		defer w.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-w.Events:
				if !ok {
					return
				}
				if e.Has(fsnotify.Create) { // perhaps a directory, with files in it already
					_ = addTree(w, e.Name)
				}
				if e.Op == fsnotify.Chmod {
					continue
				}
				select {
				case out <- struct{}{}:
				default: // it is said already
				}
			case err, ok := <-w.Errors:
				if !ok {
					return
				}
				d.o.Log.Warn("events of the site directory were lost; it is read anew", "error", err)
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out
}

// addTree watches a directory and those in it. A file is no error: its directory is
// watched.
func addTree(w *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path == root {
				return err
			}
			return nil // gone meanwhile
		}
		if e.IsDir() {
			return w.Add(path)
		}
		return nil
	})
}
