/// The pictures' colours and fonts: a light sheet, and a dark one for viewers that prefer it.
enum SVGStyle {
  static var sheet: String {
    fonts + rules(light) + "@media (prefers-color-scheme: dark) {\n" + rules(dark) + "}\n"
  }

  private struct Palette {
    var ground, frame, text, faint, card, edge, bridge, onBridge, tunnel, world, worldEdge, trouble: String
    var pause, pauseFill, running, runningFill, ended, endedFill: String
  }

  private static let light = Palette(
    ground: "#ffffff", frame: "#f6f8fa", text: "#1f2328", faint: "#59636e", card: "#ffffff", edge: "#d1d9e0",
    bridge: "#0969da", onBridge: "#ffffff", tunnel: "#bc4c00", world: "#ddf4ff", worldEdge: "#54aeff",
    trouble: "#d1242f", pause: "#8250df", pauseFill: "#fbefff", running: "#1a7f37", runningFill: "#dafbe1",
    ended: "#818b98", endedFill: "#f6f8fa")

  private static let dark = Palette(
    ground: "#0d1117", frame: "#151b23", text: "#f0f6fc", faint: "#9198a1", card: "#0d1117", edge: "#3d444d",
    bridge: "#1f6feb", onBridge: "#ffffff", tunnel: "#f0883e", world: "#121d2f", worldEdge: "#388bfd",
    trouble: "#f85149", pause: "#a371f7", pauseFill: "#211830", running: "#3fb950", runningFill: "#12261e",
    ended: "#656c76", endedFill: "#151b23")

  private static let fonts = """
    text { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
    text.mono, text.monofaint, text.onbridge { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
    .title { font-size: 17px; font-weight: 600; } .name { font-size: 13px; font-weight: 600; }
    .body { font-size: 12px; } .faint { font-size: 11px; } .mono { font-size: 11.5px; } .monofaint { font-size: 10.5px; }
    .onbridge { font-size: 11.5px; } .onbridgename { font-size: 14px; font-weight: 600; }
    .chip { font-size: 11px; font-weight: 500; }
    path { fill: none; } .veth { stroke-width: 2; } .wire { stroke-width: 2; }
    .tube { stroke-width: 3; stroke-dasharray: 7 5; } .lost { stroke-width: 2; stroke-dasharray: 3 4; }
    .pausebox { stroke-width: 1.5; stroke-dasharray: 4 3; } .namespacebox { stroke-dasharray: 2 3; }

    """

  private static func rules(_ palette: Palette) -> String {
    """
    .ground { fill: \(palette.ground); stroke: \(palette.edge); }
    .frame { fill: \(palette.frame); stroke: \(palette.edge); }
    .card { fill: \(palette.card); stroke: \(palette.edge); }
    .badcard { fill: \(palette.card); stroke: \(palette.trouble); stroke-width: 1.5; }
    .title, .name, .body, .mono { fill: \(palette.text); }
    .faint, .monofaint { fill: \(palette.faint); }
    .trouble { fill: \(palette.trouble); font-size: 11px; }
    .bridge { fill: \(palette.bridge); }
    .onbridge, .onbridgename { fill: \(palette.onBridge); }
    .veth { stroke: \(palette.bridge); } .lost { stroke: \(palette.trouble); }
    .plug { fill: \(palette.card); stroke: \(palette.bridge); stroke-width: 1.5; }
    .wire { stroke: \(palette.faint); }
    .underlay { fill: \(palette.card); stroke: \(palette.faint); }
    .tube { stroke: \(palette.tunnel); } .tubebox { fill: \(palette.card); stroke: \(palette.tunnel); stroke-width: 1.5; }
    .tubetext { fill: \(palette.tunnel); font-size: 11.5px; font-weight: 500; }
    .cloud { fill: \(palette.world); stroke: \(palette.worldEdge); stroke-width: 1.5; }
    .pausebox { fill: \(palette.pauseFill); stroke: \(palette.pause); } .pausetext { fill: \(palette.pause); }
    .runbox { fill: \(palette.runningFill); stroke: \(palette.running); } .runtext { fill: \(palette.running); }
    .endbox { fill: \(palette.endedFill); stroke: \(palette.ended); } .endtext { fill: \(palette.ended); }
    .namespacebox { fill: none; stroke: \(palette.pause); }

    """
  }
}
