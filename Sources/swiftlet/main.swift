import CRIClient

await ClientMain.run()
