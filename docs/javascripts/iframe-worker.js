// Search without a server: browsers refuse a Worker from file://, so the same script runs in a hidden frame.
// It has the interface that mkdocs-material's search asks for (its iframe-worker); nothing is fetched.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = this.onerror = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const page = this.frame.contentDocument;
      this.ready = new Promise((resolve) => { this.frame.onload = resolve; });
      const answer = (event) => {
        if (event.source !== this.frame.contentWindow) return;
        const message = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      };
      window.addEventListener("message", answer);
      const inside = () => {
        window.importScripts = (...urls) => urls.reduce((before, url) => before.then(() =>
          new Promise((resolve, reject) => {
            const script = document.createElement("script");
            script.src = url;
            script.onload = resolve;
            script.onerror = reject;
            document.body.appendChild(script);
          })), Promise.resolve());
        window.postMessage = (data) => parent.postMessage(data, "*");
      };
      page.open();
      page.write(`<html><body><script>(${inside})()<\/script><script src="${new URL(url, location)}"><\/script></body></html>`);
      page.close();
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() { this.frame.remove(); }
  };
  window.Worker = window.IFrameWorker;
}
