import Testing

@testable import CRIClient

@Suite struct ManifestTests {
  /// A manifest around the given spec lines; its first line of spec is line 5.
  static func pod(_ spec: String) -> String {
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n" + spec
  }

  static func parse(_ text: String, isLenient: Bool = false) throws -> PodManifest {
    let documents = try ManifestParser.parse(text, file: "f.yaml", isLenient: isLenient).documents
    return try #require(documents.first).pod
  }

  static func mistakes(_ text: String, isLenient: Bool = false) -> [String] {
    do {
      _ = try ManifestParser.parse(text, file: "f.yaml", isLenient: isLenient)
      return []
    } catch {
      return error.details
    }
  }

  /// Every field that is honoured, once.
  static let everything = """
    apiVersion: v1
    kind: Pod
    metadata:
      name: all
      namespace: test
      creationTimestamp: null
      labels: {app: web}
      annotations: {note: "x: y"}
    spec:
      hostNetwork: true
      hostPID: true
      hostIPC: true
      hostname: here
      dnsPolicy: None
      dnsConfig: {nameservers: [10.0.0.1], searches: [a.test], options: [{name: ndots, value: "2"}, {name: edns0}]}
      terminationGracePeriodSeconds: 5
      restartPolicy: Never
      enableServiceLinks: false
      tolerations: []
      securityContext:
        runAsUser: 5
        runAsGroup: 6
        runAsNonRoot: true
        supplementalGroups: [7]
        sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: web
        image: nginx:1.21
        imagePullPolicy: Always
        command: [a]
        args: ["1"]
        workingDir: /w
        env: [{name: A, value: b}, {name: EMPTY}]
        ports: [{name: http, containerPort: 80, hostPort: 80, hostIP: 127.0.0.1, protocol: UDP}]
        volumeMounts: [{name: d, mountPath: /d, readOnly: true, mountPropagation: HostToContainer}]
        resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}
        stdin: true
        stdinOnce: true
        tty: true
        terminationMessagePath: /dev/termination-log
        securityContext:
          runAsUser: 1000
          runAsGroup: 1001
          privileged: false
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {add: [NET_ADMIN], drop: [ALL]}
          seccompProfile: {type: Localhost, localhostProfile: /p.json}
      volumes:
      - {name: d, emptyDir: {}}
      - {name: h, hostPath: {path: /tmp, type: Directory}}
    status: {}
    """

  @Test func everythingThatIsSupported() throws {
    let pod = try Self.parse(Self.everything)
    #expect(pod.qualifiedName == "test/all")
    #expect(pod.hostNetwork && pod.hostPID && pod.hostIPC && !pod.shareProcessNamespace)
    #expect(pod.dnsPolicy == PodManifest.DNSPolicy.none)
    #expect(
      pod.dnsConfig == PodDNSManifest(nameservers: ["10.0.0.1"], searches: ["a.test"], options: ["ndots:2", "edns0"]))
    #expect(pod.terminationGraceSeconds == 5 && pod.restartPolicy == "Never" && pod.hostname == "here")
    #expect(pod.runAsUser == 5 && pod.runAsGroup == 6 && pod.runAsNonRoot == true && pod.supplementalGroups == [7])
    #expect(pod.sysctls == ["net.ipv4.tcp_syncookies": "1"] && pod.seccomp == .runtimeDefault)
    #expect(pod.volumes.map(\.source) == [.emptyDirectory, .hostPath("/tmp", .directory)])
    let web = try #require(pod.containers.first)
    #expect(web.image == "nginx:1.21" && web.imagePullPolicy == .always && web.command == ["a"] && web.args == ["1"])
    #expect(web.environment.map(\.value) == ["b", ""])
    #expect(web.ports == [PortManifest(containerPort: 80, hostPort: 80, hostIP: "127.0.0.1", transport: .udp)])
    #expect(
      web.mounts == [VolumeMountManifest(volume: "d", path: "/d", isReadOnly: true, propagation: .hostToContainer)])
    #expect(web.limits == ResourceAmounts(milliCPU: 1000, memoryBytes: 1 << 30))
    #expect(web.requests == ResourceAmounts(milliCPU: 500, memoryBytes: nil))
    #expect(web.stdin && web.stdinOnce && web.tty)
    #expect(web.security.seccomp == .localhost("/p.json") && web.security.droppedCapabilities == ["ALL"])
    #expect(web.security.allowPrivilegeEscalation == false && web.security.readOnlyRootFilesystem)
  }

  /// The spec from line 5, and the one mistake in it.
  @Test(arguments: [
    ("  containers: []", "f.yaml:5:15: spec.containers: must hold at least one container"),
    ("  hostname: x", "f.yaml:5:3: spec: containers is missing"),
    ("  containers:\n  - image: x", "f.yaml:6:5: spec.containers[0]: name is missing"),
    ("  containers:\n  - name: x", "f.yaml:6:5: spec.containers[0]: image is missing"),
    ("  containers:\n  - {name: x, image: \"\"}", "f.yaml:6:22: spec.containers[0].image: must not be empty"),
    (
      "  containers:\n  - name: x\n    image: x\n    imagePullPolcy: Always",
      "f.yaml:8:5: spec.containers[0].imagePullPolcy: is not a known field; did you mean imagePullPolicy?"
    ),
    ("  containers: [{name: x, image: x}]\n  zzz: 1", "f.yaml:6:3: spec.zzz: is not a known field"),
    (
      "  containers: [{name: x, image: x}]\n  initContainers: [{name: i, image: x}]",
      "f.yaml:6:3: spec.initContainers: is not supported by swiftlet yet"
    ),
    (
      "  containers: [{name: x, image: x}]\n  nodeName: n",
      "f.yaml:6:3: spec.nodeName: is a matter of the cluster's scheduler or API server and means nothing here"
    ),
    (
      "  containers:\n  - name: x\n    image: 1.21",
      "f.yaml:7:12: spec.containers[0].image: must be a string, but is a number; put \"1.21\" in quotes"
    ),
    (
      "  containers:\n  - name: x\n    image: x\n    tty: maybe",
      "f.yaml:8:10: spec.containers[0].tty: must be true or false, but is a string"
    ),
    (
      "  containers:\n  - name: x\n    image: x\n    args: ls",
      "f.yaml:8:11: spec.containers[0].args: must be a list, but is a string"
    ),
    (
      "  containers:\n  - {name: x, image: x}\n  - {name: x, image: y}",
      "f.yaml:7:5: spec.containers[1]: container x is there twice"
    ),
    (
      "  containers:\n  - name: x\n    image: x\n    ports: [{containerPort: 70000}]",
      "f.yaml:8:29: spec.containers[0].ports[0].containerPort: 70000 is not between 1 and 65535"
    ),
    (
      "  containers:\n  - name: x\n    image: x\n    resources: {limits: {memory: 64mi}}",
      "f.yaml:8:34: spec.containers[0].resources.limits.memory: \"64mi\" is no quantity; write for example 500m, 0.5, "
        + "64Mi or 1G"
    ),
    (
      "  containers:\n  - name: x\n    image: x\n    volumeMounts: [{name: v, mountPath: /v}]",
      "f.yaml:8:20: spec.containers[0].volumeMounts[0]: volume \"v\" is not in spec.volumes"
    ),
    (
      "  volumes: [{name: v, emptyDir: {}}]\n  containers:\n  - name: x\n    image: x\n"
        + "    volumeMounts: [{name: v, mountPath: /v, subPath: s}]",
      "f.yaml:9:45: spec.containers[0].volumeMounts[0].subPath: is not supported by swiftlet yet"
    ),
    (
      "  containers: [{name: x, image: x}]\n  volumes: [{name: v, secret: {secretName: s}}]",
      "f.yaml:6:23: spec.volumes[0].secret: is not supported by swiftlet yet"
    ),
    (
      "  containers: [{name: x, image: x}]\n  volumes: [{name: v}]",
      "f.yaml:6:13: spec.volumes[0]: needs a source: emptyDir: {} or hostPath"
    ),
    (
      "  containers: [{name: x, image: x, securityContext: {privileged: true, allowPrivilegeEscalation: false}}]",
      "f.yaml:5:53: spec.containers[0].securityContext: allowPrivilegeEscalation: false and privileged: true exclude "
        + "each other"
    ),
    (
      "  containers: [{name: x, image: x}]\n  restartPolicy: Sometimes",
      "f.yaml:6:18: spec.restartPolicy: \"Sometimes\" is not one of \"Always\", \"OnFailure\", \"Never\""
    ),
  ])
  func oneMistake(spec: String, expected: String) {
    #expect(Self.mistakes(Self.pod(spec)) == [expected])
  }

  @Test(arguments: [
    ("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: x, image: x}]}", "f.yaml:1:1: apiVersion is missing"),
    (
      "apiVersion: v1\nkind: Service\nmetadata: {name: p}",
      "f.yaml:1:1: kind Service is not supported: swiftlet plays kind Pod only"
    ),
    (
      "apiVersion: v2\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: x, image: x}]}",
      "f.yaml:1:1: apiVersion v2 is not supported: kind Pod is in v1"
    ),
    ("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: x, image: x}]}", "f.yaml:1:1: metadata is missing"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}", "f.yaml:1:1: spec is missing"),
    ("- a", "f.yaml:1:1: must be a mapping, but is a list"),
    ("", "f.yaml: holds no document"),
    ("a: [", "f.yaml:2:1: is not YAML: did not find expected node content"),
  ])
  func aWrongDocument(text: String, expected: String) {
    #expect(Self.mistakes(text) == [expected])
  }

  @Test func aKeyThatIsThereTwice() throws {
    let mistake = try #require(Self.mistakes("kind: Pod\nkind: Pod").first)
    #expect(mistake.contains("has the key kind twice"))
  }

  @Test func severalDocuments() throws {
    let one = Self.pod("  containers: [{name: x, image: x}]")
    let two = one.replacing("name: p", with: "name: q")
    let parsed = try ManifestParser.parse("---\n\(one)\n---\n---\n\(two)\n", file: "f.yaml")
    #expect(parsed.documents.map(\.pod.name) == ["p", "q"])
    #expect(Self.mistakes("\(one)\n---\n\(one)") == ["f.yaml: metadata.name: pod default/p is there twice"])
  }

  @Test func mistakesOfAllDocumentsInTheOrderOfTheFile() {
    let text = Self.pod("  zz: 1\n  containers: [{name: X, image: x}]") + "\n---\nkind: Job\napiVersion: v1"
    #expect(Self.mistakes(text).map { $0.split(separator: " ")[0] } == ["f.yaml:5:3:", "f.yaml:6:16:", "f.yaml:8:1:"])
  }

  @Test func lenienceTurnsUnknownFieldsToWarnings() throws {
    let text = Self.pod("  containers: [{name: x, image: x, livenessProbe: {a: b}}]\n  zzz: 1")
    #expect(Self.mistakes(text).count == 2)
    let parsed = try ManifestParser.parse(text, file: "f.yaml", isLenient: true)
    #expect(parsed.remarks.map(\.severity) == [.warning, .warning])
    #expect(parsed.remarks.allSatisfy { $0.message.hasSuffix("(ignored)") })
  }

  @Test func aLabelThatAnAPIServerRefusesIsAWarning() throws {
    let text =
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels:\n    webserver: nginx:1.21\nspec:\n"
      + "  containers: [{name: x, image: x}]"
    let parsed = try ManifestParser.parse(text, file: "f.yaml")
    #expect(parsed.documents.first?.pod.labels == ["webserver": "nginx:1.21"])
    #expect(
      parsed.remarks.map(\.description) == [
        "f.yaml:6:16: metadata.labels.webserver: \"nginx:1.21\" is not a valid label value: a Kubernetes API server "
          + "would refuse it; taken as it is"
      ])
    #expect(parsed.remarks.first?.severity == .warning)
  }

  @Test(arguments: [("Always", true), ("OnFailure", true), ("Never", false)])
  func aRestartPolicyIsNoted(policy: String, isNoted: Bool) throws {
    let text = Self.pod("  containers: [{name: x, image: x}]\n  restartPolicy: \(policy)")
    let remarks = try ManifestParser.parse(text, file: "f.yaml").remarks
    #expect(remarks.map(\.severity) == (isNoted ? [.note] : []))
  }

  @Test func whatChangesBetweenTwoManifests() throws {
    let one = Self.pod(
      "  containers: [{name: x, image: x, args: [a, b]}]\n  hostNetwork: false\nstatus: {phase: Running}")
    let two = Self.pod("  containers: [{image: y, name: x, args: [a]}]\n  hostname: h\n  hostNetwork: false")
    let old = try #require(try ManifestParser.parse(one, file: "f").documents.first).canonical
    let new = try #require(try ManifestParser.parse(two, file: "f").documents.first).canonical
    #expect(ManifestDifference.lines(from: old, to: old).isEmpty)
    #expect(
      ManifestDifference.lines(from: old, to: new) == [
        "- spec.containers[0].args[1]: \"b\"", "~ spec.containers[0].image: \"x\" -> \"y\"", "+ spec.hostname: \"h\"",
      ])
  }

  @Test(arguments: [
    ("a", true), ("a-1", true), ("", false), ("-a", false), ("a-", false), ("A", false), ("a.b", false),
  ])
  func labels(text: String, isGood: Bool) {
    #expect((Names.labelTrouble(text) == nil) == isGood)
  }

  @Test(arguments: [("a.b-c", true), ("../x", false), ("a..b", false), ("a/b", false), (".a", false)])
  func subdomains(text: String, isGood: Bool) {
    #expect((Names.subdomainTrouble(text) == nil) == isGood)
  }

  @Test func labelKeys() {
    #expect(Names.labelKeyTrouble("app.kubernetes.io/name") == nil)
    #expect(Names.labelKeyTrouble("a/b/c") != nil)
    #expect(Names.labelKeyTrouble("/b") != nil)
    #expect(Names.labelValueTrouble("") == nil)
    #expect(Names.labelValueTrouble(String(repeating: "a", count: 64)) != nil)
  }
}
